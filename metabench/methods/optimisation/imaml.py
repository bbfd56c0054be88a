"""Implicit MAML (Rajeswaran et al., NeurIPS 2019).

The inner problem is regularised and solved, not unrolled:

    φ_i* = argmin_φ L_i(φ) + (λ/2) ‖φ − θ‖²      (eq. 3, on the support)

Then the meta-gradient needs only the solution, whatever path led there:

    dL_i^q(φ_i*)/dθ = (I + (1/λ) ∇²L_i(φ_i*))^{-1} ∇_φ L_i^q(φ_i*)      (lemma 1)

The linear system is solved by a few steps of conjugate gradient, with Hessian-vector products. All
of this holds as far as φ_i* is reached, and where ``I + ∇²L_i/λ`` is positive definite: λ above the
most negative curvature. Both are measured in training: ``inner_residual``, the share of the inner
problem's gradient that is left; ``cg_residual``, the same of the linear system;
``negative_curvature``, the share of tasks where it ended conjugate gradient. Far outside in the
second half of training, it warns. On a Conv4 some tenths of the gradient were left however many
steps were taken, perhaps as ReLU and max-pooling have kinks: there the gradient is approximate.

Differs from the paper: the inner steps handle the penalty in closed form, so that they are stable
for any λ (code: gradient steps on L_i alone, then one step on the penalty). Where conjugate
gradient meets negative curvature it ends with what it has (code: damping, which solves another
system). Prediction solves the regularised problem, too (code: plain gradient descent, λ = 0).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated, NamedTuple

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

UNSOLVED = 0.5
"""Share of the inner gradient that is left, or of tasks with negative curvature, that warns."""


class IMAMLSettings(InnerLoopSettings):
    """Settings of the inner problem, by default nearer to its theory than the paper's on a Conv4.

    Measured on glyphs: steps of 0.1 do not settle at random weights, and for a λ of 2
    ``I + ∇²L_i/λ`` is indefinite on every task; in a short training with a λ of 20 (50 steps of
    0.01) it was on one in sixteen. A λ of 100 left none, and learned nothing in 6,000 examples.

    Attributes:
        regularisation: λ (paper: 2 on Omniglot, 0.5 on miniImageNet).
        cg_steps: steps of conjugate gradient (paper: 5).
    """

    inner_lr: Annotated[Positive, Log(1e-3, 0.5)] = 0.01
    steps: Annotated[Count, Choice(5, 10, 20, 50, 100)] = 20
    test_steps: Annotated[Whole, Log(5, 100), ADAPTS] = 20
    regularisation: Annotated[Positive, Log(0.5, 200)] = 20.0
    cg_steps: Count = 5


class IMAML(GradientMethod):
    """Initialisation from which a regularised solution does well."""

    family = "optimisation"
    paper = "Rajeswaran et al. 2019"
    Settings = IMAMLSettings
    warned = False

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``φ ← (φ − α ∇L_i(φ) + αλ θ) / (1 + αλ)``: the proximal step of the inner problem.

        Its fixed point is φ_i*. Plain descent on both terms needs α < 2/λ; this one is stable.
        """
        pull = self.settings.inner_lr * self.settings.regularisation
        theta = self.body() | self.head.start(weights["head.weight"].shape[1])
        return {
            name: (w - self.settings.inner_lr * gradients[name] + pull * theta[name]) / (1 + pull)
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

        found = conjugate_gradient(system, list(query_gradients.values()), self.settings.cg_steps)
        first = gradients_of(self.support_loss(batch, theta), theta)
        pulls = [
            self.settings.regularisation * (w - theta[name]).detach() for name, w in phi.items()
        ]
        self._measure(first, inner_gradients, pulls, found)
        if progress >= 0.5:  # random weights are outside in any case
            self._warn()
        products = [(w * v).sum() for w, v in zip(theta.values(), found.x, strict=True)]
        surrogate = torch.stack(products).sum() / len(batch)
        return query_loss.mean().detach() + surrogate - surrogate.detach()

    def _measure(self, first: Weights, last: Weights, pulls: Vector, found: Solution) -> None:
        """Record how far both problems are solved, means over tasks.

        Args:
            first: ``∇L_i(θ)``, which is the residual of the inner problem where it starts.
            last: ``∇L_i(φ)``.
            pulls: ``λ (φ − θ)``.
        """
        left = _add([g.detach() for g in last.values()], torch.ones(()), pulls)
        whole = list(first.values())
        tiny = torch.finfo(whole[0].dtype).tiny
        share = (_dot(left, left) / _dot(whole, whole).clamp_min(tiny)).sqrt()
        numbers = torch.stack([share, found.residual, found.negative.to(share.dtype)]).mean(1)
        names = ("inner_residual", "cg_residual", "negative_curvature")
        self.measured = dict(zip(names, numbers.tolist(), strict=True))

    def _warn(self) -> None:
        """Say once where the implicit gradient does not hold."""
        residual, _, negative = self.measured.values()
        if max(residual, negative) > UNSOLVED and not self.warned:
            self.warned = True
            warnings.warn(
                f"imaml: the inner problem is not solved: {residual:.0%} of its gradient is left, "
                f"and {negative:.0%} of the tasks have negative curvature, so that the implicit "
                "gradient does not hold. Raise `regularisation` or `steps`, or lower `inner_lr`. "
                "How it goes on is in the training curve.",
                stacklevel=2,
            )


Vector = list[Tensor]
"""One vector per task, in pieces ``[T, ...]``."""


class Solution(NamedTuple):
    """What conjugate gradient found.

    Attributes:
        x: approximate solution.
        residual: ``[T]``, ``‖b − A x‖ / ‖b‖``.
        negative: ``[T]``, whether a direction of negative curvature ended the search.
    """

    x: Vector
    residual: Tensor
    negative: Tensor


def conjugate_gradient(product: Callable[[Vector], Vector], b: Vector, steps: int) -> Solution:
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
    size = start = _dot(residual, residual)
    tiny = torch.finfo(size.dtype).tiny
    going = torch.ones_like(size, dtype=torch.bool)
    negative = torch.zeros_like(going)
    for step in range(steps):
        image = product(direction)
        curvature = _dot(direction, image)
        negative = negative | (going & (curvature < -tiny))
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
    return Solution(x, (size / start.clamp_min(tiny)).sqrt(), negative)


def _dot(a: Vector, b: Vector) -> Tensor:
    """Inner product of each task, ``[T]``."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _add(a: Vector, scale: Tensor, b: Vector) -> Vector:
    """``a + scale b`` with one scale per task, or one for all."""
    return [x + scale.view(-1, *[1] * (y.dim() - 1)) * y for x, y in zip(a, b, strict=True)]
