"""The transformer of methods that learn in context: non-causal, without positions."""

from __future__ import annotations

from torch import nn

from metabench.config.bounds import Depth
from metabench.methods.base import Queries, Tasks
from metabench.methods.parts.attention import AttentionSettings


class TransformerSettings(AttentionSettings):
    """Size of the transformer.

    Many small steps (one task, few queries) learn to use labels soonest.

    Attributes:
        layers: blocks of attention and feed-forward.
    """

    tasks: Tasks = 1
    queries: Queries = 5
    layers: Depth = 2


def transformer(settings: TransformerSettings) -> nn.TransformerEncoder:
    """Pre-norm blocks whose feed-forward part is four times as wide, without dropout."""
    width = settings.width
    layer = nn.TransformerEncoderLayer(
        width, settings.heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(
        layer, settings.layers, nn.LayerNorm(width), enable_nested_tensor=False
    )
