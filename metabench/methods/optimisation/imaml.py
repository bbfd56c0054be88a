"""Implicit MAML (Rajeswaran et al., NeurIPS 2019).

The inner problem is regularised and solved, not unrolled:

    φ_i* = argmin_φ L_i(φ) + (λ/2) ‖φ − θ‖²      (eq. 3, on the support)

Then the meta-gradient needs only the solution, whatever path led there:

    dL_i^q(φ_i*)/dθ = (I + (1/λ) ∇²L_i(φ_i*))^{-1} ∇_φ L_i^q(φ_i*)      (lemma 1)

The linear system is solved by a few steps of conjugate gradient, with Hessian-vector products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.config.bounds import Count, Positive, Whole
from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.conjugate_gradient import conjugate_gradient
from metabench.methods.parts.inner_loop import GradientMethod, InnerLoopSettings


class IMAMLSettings(InnerLoopSettings):
    """Settings of the inner problem.

    Attributes:
        regularisation: λ.
        cg_steps: steps of conjugate gradient (paper: 5).
    """

    steps: Count = 10
    test_steps: Whole = 15
    regularisation: Positive = 0.5
    cg_steps: Count = 5


class IMAML(GradientMethod):
    """Initialisation from which a regularised solution does well."""

    family = "optimisation"
    paper = "Rajeswaran et al. 2019"
    Settings = IMAMLSettings

    def proximity(self) -> float:
        """λ."""
        return self.settings.regularisation

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """A scalar whose value is the query loss and whose gradient is the implicit one."""
        start = self.initial(batch)
        end = self.adapt(batch, self.settings.steps, second_order=False)
        solution = {name: w.detach().requires_grad_() for name, w in end.items()}
        names, weights = list(solution), list(solution.values())

        value = task_loss(self.query_logits(batch, solution), batch.query_y)
        slopes = torch.autograd.grad(value.sum(), weights)
        size = batch.support_x.shape[1]
        inner = task_loss(self.forward(batch.support_x, solution, size), batch.support_y).sum()
        inner_slopes = torch.autograd.grad(inner, weights, create_graph=True)

        def system(v: list[Tensor]) -> list[Tensor]:
            """``(I + ∇²L/λ) v`` of every task."""
            curved = torch.autograd.grad(inner_slopes, weights, v, retain_graph=True)
            return [a + b / self.settings.regularisation for a, b in zip(v, curved, strict=True)]

        implicit = conjugate_gradient(system, list(slopes), self.settings.cg_steps)
        surrogate = torch.stack(
            [(start[name] * v).sum() for name, v in zip(names, implicit, strict=True)]
        ).sum() / len(batch)
        return value.mean().detach() + surrogate - surrogate.detach()
