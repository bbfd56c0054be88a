"""Conjugate gradient for systems that are given by their products, one per task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Vector = list[Tensor]
"""One vector per task, in pieces ``[T, ...]``."""


def _dot(a: Vector, b: Vector) -> Tensor:
    """Inner product of each task, ``[T]``."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _add(a: Vector, scale: Tensor, b: Vector) -> Vector:
    """``a + scale b`` with one scale per task."""
    return [x + scale.view(-1, *[1] * (y.dim() - 1)) * y for x, y in zip(a, b, strict=True)]


def conjugate_gradient(product: Callable[[Vector], Vector], b: Vector, steps: int) -> Vector:
    """Approximate ``A^{-1} b`` for symmetric positive definite ``A`` (Hestenes & Stiefel 1952).

    Where ``A`` is not, the search of a task ends at a direction of negative curvature with what it
    has, and if that is the first one, with ``b`` (Nocedal & Wright 2006, algorithm 7.1).

    Args:
        product: ``v -> A v``; tasks must not mix.
        b: right-hand sides.
        steps: iterations; exact, but for rounding, after as many as ``A`` has eigenvalues.
    """
    x = [torch.zeros_like(piece) for piece in b]
    residual, direction = b, b
    size = _dot(residual, residual)
    tiny = torch.finfo(size.dtype).tiny
    going = torch.ones_like(size, dtype=torch.bool)
    for step in range(steps):
        image = product(direction)
        curvature = _dot(direction, image)
        # an exact solution ends a task's search, as does negative curvature, far from a minimum
        going = going & (curvature > tiny)
        if step == 0:
            x = _add(x, torch.where(going, 0.0, 1.0), b)
        length = torch.where(going, size / curvature.clamp_min(tiny), 0)
        x = _add(x, length, direction)
        residual = _add(residual, -length, image)
        new_size = _dot(residual, residual)
        direction = _add(residual, new_size / size.clamp_min(tiny), direction)
        size = new_size
    return x
