"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine, ICML 2017).

Find an initialisation from which a few gradient steps on the support solve a task:

    θ_i' = θ − α ∇_θ L_{T_i}(f_θ)      (inner loop, eq. 1; repeated ``steps`` times)
    θ*   = argmin_θ Σ_i L_{T_i}(f_{θ_i'})      (outer loop, on the queries)

The outer gradient goes through the inner one (second order) unless ``first_order``. The head has a
row for each label slot; classes take slots at random.

Differs from the paper: batch norms use the moments of the support for support and queries alike,
where the authors' code takes each batch's own, the queries' included (transductive); more ways than
in training are answered, the further classes starting at the mean row (``rows_for``).
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.inner_loop import (
    GradientMethod,
    InnerLoopSettings,
    Weights,
    gradients_of,
)


class MAMLSettings(InnerLoopSettings):
    """``first_order``: drop the second derivatives (paper, 5.2)."""

    first_order: bool = False


class MAML(GradientMethod):
    """Meta-learned initialisation of backbone and head."""

    family = "optimisation"
    paper = "Finn et al. 2017"
    Settings = MAMLSettings

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_i' = θ − α ∇_θ L_{T_i}(f_θ)``."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Algorithm 2 for the batch of tasks; the training loop descends along its gradient by θ.

        Returns:
            The mean over tasks of ``L_{T_i}(f_{θ_i'})`` on the queries.
        """
        second_order = not self.settings.first_order
        weights = self.initial(batch)  # θ, once for every task i
        for step in range(self.settings.steps):
            gradients = gradients_of(self.support_loss(batch, weights), weights, second_order)
            weights = self.inner_step(weights, gradients, step)
        return task_loss(self.query_logits(batch, weights), batch.query_y).mean()
