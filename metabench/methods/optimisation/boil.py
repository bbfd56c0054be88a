"""Body Only update in Inner Loop (Oh et al., ICLR 2021).

The inner loop adapts the body and leaves the head as it is, so that representations must change:

    θ_i' = (θ_body − α ∇_{θ_body} L_{T_i}(f_θ), θ_head)      (paper, eq. 4 with α_h = 0)

The outer gradient (second order) reaches both. The frozen head must tell classes apart from the
start, so it has one row per label slot; classes take slots by order of appearance in the support.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, restore_names, task_loss
from metabench.methods.base import Task
from metabench.methods.parts.inner_loop import (
    GradientMethod,
    Head,
    InnerLoopSettings,
    Weights,
    per_task,
)
from metabench.methods.parts.slots import to_slots


class BOIL(GradientMethod):
    """MAML with a frozen head."""

    family = "optimisation"
    paper = "Oh et al. 2021"
    kinds = frozenset({"image", "text", "vector"})
    variable_ways = False
    order_sensitive = True

    def __init__(self, backbone: Backbone, task: Task, settings: InnerLoopSettings):
        super().__init__(backbone, task, settings)
        self.head = Head(backbone.feature_dim, task.ways)

    def initial(self, episodes: Episodes) -> Weights:
        """Body and head, of which the rows of the slots in use."""
        rows = {name: p[: episodes.ways] for name, p in self.head.start(None).items()}
        return per_task(dict(self.backbone.named_parameters()) | rows, len(episodes))

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_body ← θ_body − α ∇_{θ_body} L_{T_i}(f_θ)``, and θ_head as it is."""
        alpha = self.settings.inner_lr
        return {
            name: w if name.startswith("head.") else w - alpha * gradients[name]
            for name, w in weights.items()
        }

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adapting the body."""
        batch, _ = to_slots(batch, self.task.ways)
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query logits after each of the given numbers of inner steps, in one run."""
        episodes, slot = to_slots(episodes, self.task.ways)
        return [restore_names(logits, slot) for logits in super().predict_after(episodes, steps)]
