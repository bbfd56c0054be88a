"""Distances and similarities between feature vectors, batched over tasks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """``‖a_i − b_j‖²``: ``[T, N, D]`` and ``[T, M, D]`` to ``[T, N, M]``.

    Computed as a sum of squares of differences' expansion ``a² − 2ab + b²``: one matrix product.
    """
    cross = a @ b.transpose(-1, -2)
    squares = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * cross).clamp_min(0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity: ``[T, N, D]`` and ``[T, M, D]`` to ``[T, N, M]``."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).transpose(-1, -2)
