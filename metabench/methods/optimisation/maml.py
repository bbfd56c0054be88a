"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine, ICML 2017).

Find an initialisation from which a few gradient steps on the support solve a task:

    θ_i' = θ − α ∇_θ L_{T_i}(f_θ)      (inner loop, eq. 1; repeated ``steps`` times)
    θ*   = argmin_θ Σ_i L_{T_i}(f_{θ_i'})      (outer loop, on the queries)

The outer gradient goes through the inner one (second order) unless ``first_order``.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.inner_loop import GradientMethod, InnerLoopSettings


class MAMLSettings(InnerLoopSettings):
    """``first_order``: drop the second derivatives (paper, 5.2)."""

    first_order: bool = False


class MAML(GradientMethod):
    """Meta-learned initialisation of backbone and head."""

    family = "optimisation"
    paper = "Finn et al. 2017"
    Settings = MAMLSettings

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss ``L_{T_i}(f_{θ_i'})``."""
        adapted = self.adapt(batch, self.settings.steps, not self.settings.first_order)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
