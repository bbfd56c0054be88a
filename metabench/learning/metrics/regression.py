"""Errors of an episode of regression: from predictions and targets ``[T, Q, D]``."""

from __future__ import annotations

from torch import Tensor


def mse(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Mean squared error."""
    return {"mse": (outputs - targets).double().square().flatten(1).mean(1)}


def mae(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Mean absolute error."""
    return {"mae": (outputs - targets).double().abs().flatten(1).mean(1)}


ALWAYS = (mse,)
"""What every result holds. The first is what methods are compared by."""
