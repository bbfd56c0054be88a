"""Ridge regression in closed form, batched over tasks and differentiable (Hoerl & Kennard 1970)."""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.methods.parts import cholesky


def ridge_weights(x: Tensor, y: Tensor, penalty: Tensor | float) -> Tensor:
    """``argmin_W ‖X W − Y‖² + λ ‖W‖²``: ``x`` ``[T, S, D]``, ``y`` ``[T, S, K]`` to ``[T, D, K]``.

    By Woodbury's form where there are fewer examples than dimensions, else
    ``W = (Xᵀ X + λI)^{-1} Xᵀ Y``. Computed in float64: λ may be small.
    """
    a, b = x.double(), y.double()
    s, d = x.shape[1:]
    eye = torch.eye(min(s, d), dtype=a.dtype, device=a.device)
    if s <= d:
        weights = a.mT @ cholesky.solve(a @ a.mT + penalty * eye, b)
    else:
        weights = cholesky.solve(a.mT @ a + penalty * eye, a.mT @ b)
    return weights.to(x.dtype)
