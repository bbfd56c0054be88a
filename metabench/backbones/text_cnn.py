"""A small text encoder from scratch: embeddings, one convolution, pooling (after Kim 2014).

It knows nothing but the source, and so says what a pretrained language model is worth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.layers import TaskLinear, Weights, pick, scope
from metabench.config.bounds import Depth, Many, Width


class TextCNN(Backbone):
    """Word-piece ids ``[T, N, L]`` to ``[T, N, width]``.

    Args:
        input_shape: ``(L,)``; only its form is read, texts of any length will do.
        width: channels of the convolution, and ``feature_dim``.
        size: length of an embedding.
        pieces: rows of the embedding table; ids beyond it share rows.
        window: word pieces that the convolution sees at once.
    """

    kinds = frozenset({"text"})
    block_prefixes = ("embedding.", "convolution.", "output.")

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: Width = 128,
        size: Width = 64,
        pieces: Many = 30522,
        window: Depth = 3,
    ):
        super().__init__()
        self.window, self.feature_dim = window, width
        self.embedding = nn.Embedding(pieces, size)
        self.convolution = TaskLinear(window * size, width)
        self.output = TaskLinear(2 * width, width)

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """Mean and maximum over positions of the convolution; there is nothing to normalise."""
        filled = x != 0
        length = max(1, int(filled.sum(-1).max()))
        ids, filled = x[..., :length].long(), filled[..., :length]
        table = pick(weights, "embedding.weight", self.embedding.weight)
        row = ids % table.shape[-2]
        if table.dim() == 2:
            vectors = F.embedding(row, table)
        else:
            vectors = table[torch.arange(len(x), device=x.device)[:, None, None], row]
        vectors = vectors * filled[..., None]  # [T, N, L, size]
        side = self.window // 2
        padded = F.pad(vectors, (0, 0, side, self.window - 1 - side))
        seen = torch.cat([padded[:, :, i : i + length] for i in range(self.window)], dim=-1)
        n = x.shape[1]
        flat = seen.flatten(1, 2).transpose(0, 1)  # [N·L, T, window·size]
        found = F.relu(self.convolution(flat, scope(weights, "convolution")))
        found = found.transpose(0, 1).unflatten(1, (n, length)) * filled[..., None]
        mean = found.sum(2) / filled.sum(2).clamp_min(1)[..., None]
        pooled = torch.cat([mean, found.amax(2)], dim=-1).transpose(0, 1)  # [N, T, 2·width]
        return self.output(pooled, scope(weights, "output")).transpose(0, 1)
