"""First-order MAML (Finn, Abbeel & Levine 2017, 5.2; Nichol et al. 2018, section 4).

As MAML, but the inner gradients count as constants when the outer gradient is taken:

    ∇_θ L_{T_i}(f_{θ_i'}) ≈ ∇_{θ_i'} L_{T_i}(f_{θ_i'})

Differs from the paper: as ``maml``, in batch norms (the support's moments) and in further ways.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.inner_loop import GradientMethod, Weights


class FOMAML(GradientMethod):
    """The outer gradient is that at the adapted weights."""

    family = "optimisation"
    paper = "Finn et al. 2017; Nichol et al. 2018"

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_i' = θ − α ∇_θ L_{T_i}(f_θ)``."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss; its gradient stops at the inner gradients."""
        adapted = self.adapt(batch, self.settings.steps, second_order=False)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
