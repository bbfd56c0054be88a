"""SNAIL: a simple neural attentive meta-learner (Mishra et al., ICLR 2018).

The labelled support and one query with a null label form a sequence, through which temporal
convolutions gather information and causal attention picks it out (paper, figures 1-2):

    DenseBlock(R, D):     [x, tanh(conv_f(x)) ∘ σ(conv_g(x))]    2 taps, R apart, D filters
    TCBlock(S, D):        DenseBlock(2^i, D) for i = 0 … ⌈log2 S⌉ − 1
    AttentionBlock(K, V): [x, softmax(q kᵀ / √K) v]              over this and earlier positions

Queries stand beside each other at the position after the support: each sees the support and itself.
A causal network never shows the support a query, so the support is processed once for all of them.

Differs from the paper: D is 32 (128), keys and values double from block to block (64, 128, 256 and
32, 64, 128; paper: 64, 256, 512 and 32, 128, 256), for a small budget. Dilations start at 1; the
paper's pseudo-code starts at 2 and so would skip every other example. S is the setting ``length``
and not the length of the episode, so that one learner serves several numbers of shots. Features are
layer-normalised, so that they and the one-hot labels beside them have one scale. Classes take label
slots in order of appearance and not at random, which is the same to a support in random order.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Width
from metabench.episodes import Episodes, one_hot, restore_names
from metabench.methods.base import Queries, Settings, Task, Tasks
from metabench.methods.parts.slots import SequenceMethod, to_slots


class SNAILSettings(Settings):
    """Size of the network.

    Many small steps (one task, few queries) learn to use labels soonest.

    Attributes:
        filters: D of the temporal convolutions (paper: 128).
        keys, values: K and V of the first attention; later ones have more (paper: 64, 32).
        length: support size that the convolutions must span; attention reaches any length.
    """

    tasks: Tasks = 1
    queries: Queries = 5
    filters: Width = 32
    keys: Width = 64
    values: Width = 32
    length: Annotated[Count, Field(ge=2)] = 26


class DenseBlock(nn.Module):
    """Gated causal convolution of two taps, its output appended to its input."""

    def __init__(self, channels: int, dilation: int, filters: int):
        super().__init__()
        self.dilation = dilation
        self.here = nn.Linear(channels, 2 * filters)
        self.before = nn.Linear(channels, 2 * filters, bias=False)

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """``[T, S, C]`` and ``[T, Q, C]``, every query at position S."""
        padded = F.pad(support, (0, 0, self.dilation, 0))  # zeros before the beginning
        earlier = self.before(padded)
        s = support.shape[1]
        out = []
        for x, past in ((support, earlier[:, :s]), (query, earlier[:, s : s + 1])):
            value, gate = (self.here(x) + past).chunk(2, dim=-1)
            out.append(torch.cat([x, value.tanh() * gate.sigmoid()], dim=-1))
        return out[0], out[1]


class AttentionBlock(nn.Module):
    """Causal attention, what it reads appended to its input."""

    def __init__(self, channels: int, keys: int, values: int):
        super().__init__()
        self.sizes = (keys, keys, values)
        self.projection = nn.Linear(channels, sum(self.sizes))

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """``[T, S, C]`` and ``[T, Q, C]``, every query at position S."""
        sq, sk, sv = self.projection(support).split(self.sizes, dim=-1)
        qq, qk, qv = self.projection(query).split(self.sizes, dim=-1)
        read = F.scaled_dot_product_attention(sq, sk, sv, is_causal=True)
        # a query attends to the support and to itself
        own = (qq * qk).sum(-1, keepdim=True)
        weights = (torch.cat([qq @ sk.mT, own], dim=-1) / math.sqrt(self.sizes[0])).softmax(-1)
        found = weights[..., :-1] @ sv + weights[..., -1:] * qv
        return torch.cat([support, read], dim=-1), torch.cat([query, found], dim=-1)


class SNAIL(SequenceMethod):
    """Attention, convolutions, attention, convolutions, attention (paper, 5.1)."""

    paper = "Mishra et al. 2018"
    Settings = SNAILSettings

    def __init__(self, backbone: Backbone, task: Task, settings: SNAILSettings):
        super().__init__(backbone, task, settings)
        self.norm = nn.LayerNorm(backbone.feature_dim)
        self.blocks = nn.ModuleList()
        channels, keys, values = backbone.feature_dim + task.ways, settings.keys, settings.values
        for i in range(3):
            if i > 0:
                for power in range(math.ceil(math.log2(settings.length))):
                    self.blocks.append(DenseBlock(channels, 2**power, settings.filters))
                    channels += settings.filters
            self.blocks.append(AttentionBlock(channels, keys, values))
            channels, keys, values = channels + values, 2 * keys, 2 * values
        self.output = nn.Linear(channels, task.ways)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``."""
        episodes, slot = to_slots(features, self.task.ways)
        x, query = episodes.support_x, episodes.query_x
        support = torch.cat([x, one_hot(episodes.support_y, self.task.ways, x)], dim=-1)
        query = F.pad(query, (0, self.task.ways))  # the null label
        for block in self.blocks:
            support, query = block(support, query)
        return restore_names(self.output(query)[..., : slot.shape[1]], slot)
