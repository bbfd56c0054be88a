"""Body Only update in Inner Loop (Oh et al., ICLR 2021).

The inner loop adapts the body and leaves the head as it is, so that representations must change:

    θ_i' = (θ_body − α ∇_{θ_body} L_{T_i}(f_θ), θ_head)      (paper, eq. 4 with α_h = 0)

The outer gradient (second order) reaches both. The frozen head must tell classes apart from the
start, so it has one row per label slot, and no more ways than in training will do.

Differs from the paper: batch norms use the moments of the support for support and queries alike.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, task_loss
from metabench.methods.parts.inner_loop import GradientMethod, Weights
from metabench.methods.parts.slots import require_slots


class BOIL(GradientMethod):
    """MAML with a frozen head."""

    family = "optimisation"
    paper = "Oh et al. 2021"
    kinds = frozenset({"image", "text", "vector"})
    variable_ways = False

    def initial(self, episodes: Episodes) -> Weights:
        """Body and head; no further rows, as nothing would ever tell them apart."""
        require_slots(episodes.ways, len(self.head.weight))
        return super().initial(episodes)

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_body ← θ_body − α ∇_{θ_body} L_{T_i}(f_θ)``, and θ_head as it is."""
        alpha = self.settings.inner_lr
        return {
            name: w if name.startswith("head.") else w - alpha * gradients[name]
            for name, w in weights.items()
        }

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adapting the body."""
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
