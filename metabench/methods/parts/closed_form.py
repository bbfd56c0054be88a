"""Ridge regression in closed form, batched over tasks and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_weights(x: Tensor, y: Tensor, penalty: Tensor | float) -> Tensor:
    """``argmin_W ‖X W − Y‖² + λ ‖W‖²``: ``x`` ``[T, S, D]``, ``y`` ``[T, S, K]`` to ``[T, D, K]``.

    ``W = Xᵀ (X Xᵀ + λI)^{-1} Y`` by Woodbury's identity where there are fewer examples than
    dimensions, else ``W = (Xᵀ X + λI)^{-1} Xᵀ Y``.
    """
    s, d = x.shape[1:]
    eye = torch.eye(min(s, d), dtype=x.dtype, device=x.device)
    if s <= d:
        return x.mT @ torch.linalg.solve(x @ x.mT + penalty * eye, y)
    return torch.linalg.solve(x.mT @ x + penalty * eye, x.mT @ y)
