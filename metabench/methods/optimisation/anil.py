"""Almost No Inner Loop (Raghu et al., ICLR 2020).

The inner loop adapts the head alone; the body's features are reused by every task:

    θ_i' = (θ_body, θ_head − α ∇_{θ_head} L_{T_i}(f_θ))      (paper, section 4)

The outer gradient reaches body and head, through the inner steps (second order).

Differs from the paper: as ``maml``, in batch norms (the support's moments) and in further ways.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.inner_loop import HeadGradientMethod, Weights


class ANIL(HeadGradientMethod):
    """MAML whose inner loop sees features."""

    family = "optimisation"
    paper = "Raghu et al. 2020"

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_head ← θ_head − α ∇_{θ_head} L_{T_i}(f_θ)``."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adapting the head."""
        batch = self.features(batch)
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
