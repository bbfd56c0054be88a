"""Implicit MAML (Rajeswaran et al., NeurIPS 2019).

The inner problem is regularised and solved, not unrolled:

    φ_i* = argmin_φ L_i(φ) + (λ/2) ‖φ − θ‖²      (eq. 3, on the support)

Then the meta-gradient needs only the solution, whatever path led there:

    dL_i^q(φ_i*)/dθ = (I + (1/λ) ∇²L_i(φ_i*))^{-1} ∇_φ L_i^q(φ_i*)      (lemma 1)

The linear system is solved by a few steps of conjugate gradient, with Hessian-vector products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from metabench.config.bounds import Count, Positive, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.inner_loop import (
    GradientMethod,
    InnerLoopSettings,
    Weights,
    gradients_of,
)


class IMAMLSettings(InnerLoopSettings):
    """Settings of the inner problem.

    Attributes:
        regularisation: λ.
        cg_steps: steps of conjugate gradient (paper: 5).
    """

    steps: Annotated[Count, Choice(5, 10, 20, 50)] = 10
    test_steps: Annotated[Whole, Log(5, 100), ADAPTS] = 15
    regularisation: Annotated[Positive, Log(0.05, 20)] = 0.5
    cg_steps: Count = 5


class IMAML(GradientMethod):
    """Initialisation from which a regularised solution does well."""

    family = "optimisation"
    paper = "Rajeswaran et al. 2019"
    Settings = IMAMLSettings

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``φ ← φ − α (∇L_i(φ) + λ (φ − θ))``: descent on the regularised inner problem."""
        alpha, regularisation = self.settings.inner_lr, self.settings.regularisation
        theta = self.body() | self.head.start(weights["head.weight"].shape[1])
        return {
            name: w - alpha * gradients[name] - alpha * regularisation * (w - theta[name])
            for name, w in weights.items()
        }

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """A scalar whose value is the query loss and whose gradient is the implicit one."""
        theta = self.initial(batch)
        solved = self.adapt(batch, self.settings.steps, second_order=False)
        phi = {name: w.detach().requires_grad_() for name, w in solved.items()}
        query_loss = task_loss(self.query_logits(batch, phi), batch.query_y)
        query_gradients = gradients_of(query_loss, phi)
        inner_gradients = gradients_of(self.support_loss(batch, phi), phi, second_order=True)

        def system(v: Vector) -> Vector:
            """``(I + ∇²L_i/λ) v`` of every task."""
            weights, slopes = list(phi.values()), list(inner_gradients.values())
            curved = torch.autograd.grad(slopes, weights, v, retain_graph=True)
            return [a + b / self.settings.regularisation for a, b in zip(v, curved, strict=True)]

        right = list(query_gradients.values())
        implicit = conjugate_gradient(system, right, self.settings.cg_steps)
        products = [(w * v).sum() for w, v in zip(theta.values(), implicit, strict=True)]
        surrogate = torch.stack(products).sum() / len(batch)
        return query_loss.mean().detach() + surrogate - surrogate.detach()


Vector = list[Tensor]
"""One vector per task, in pieces ``[T, ...]``."""


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


def _dot(a: Vector, b: Vector) -> Tensor:
    """Inner product of each task, ``[T]``."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _add(a: Vector, scale: Tensor, b: Vector) -> Vector:
    """``a + scale b`` with one scale per task."""
    return [x + scale.view(-1, *[1] * (y.dim() - 1)) * y for x, y in zip(a, b, strict=True)]
