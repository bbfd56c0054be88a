"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine, ICML 2017).

Find an initialisation from which a few gradient steps on the support solve a task:

    θ_i' = θ − α ∇_θ L_{T_i}(f_θ)      (inner loop, eq. 1; repeated ``steps`` times)
    θ*   = argmin_θ Σ_i L_{T_i}(f_{θ_i'})      (outer loop, on the queries)

The outer gradient goes through the inner one (second order) unless ``first_order``. Batch
normalisation uses the moments of the task's own support for support and queries alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Method, Settings, Task
from metabench.methods.parts.inner_loop import Head, apply_head, gradient_step, per_task


class MAMLSettings(Settings):
    """Inner-loop settings.

    Attributes:
        inner_lr: α.
        steps: inner steps in training.
        test_steps: inner steps in prediction (the paper uses more than in training).
        first_order: drop the second derivatives (FOMAML, paper 5.2).
    """

    inner_lr: float = Field(0.1, gt=0)
    steps: int = Field(5, ge=1)
    test_steps: int = Field(10, ge=0)
    first_order: bool = False


class MAML(Method):
    """Meta-learned initialisation of backbone and head."""

    family = "optimisation"
    paper = "Finn et al. 2017"
    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = MAMLSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MAMLSettings):
        super().__init__(backbone, task, settings)
        self.head = Head(backbone.feature_dim, task.outputs)

    def initial(self, episodes: Episodes) -> dict[str, Tensor]:
        """θ, one copy per task."""
        parameters = dict(self.backbone.named_parameters()) | self.head.start(episodes.ways)
        return per_task(parameters, len(episodes))

    def forward(self, x: Tensor, weights: dict[str, Tensor], support: int) -> Tensor:
        """``[T, N, ...] -> [T, N, K]``; the first ``support`` examples give the moments."""
        return apply_head(self.backbone(x, weights, support), weights)

    def adapt(self, episodes: Episodes, steps: int, second_order: bool) -> dict[str, Tensor]:
        """θ_i' of every task after ``steps`` inner steps."""
        weights = self.initial(episodes)
        size = episodes.support_x.shape[1]
        for _ in range(steps):
            weights = gradient_step(
                lambda x, w: self.forward(x, w, size),
                weights,
                episodes.support_x,
                episodes.support_y,
                lambda name: self.settings.inner_lr,
                second_order,
            )
        return weights

    def answer(self, episodes: Episodes, weights: dict[str, Tensor]) -> Tensor:
        """Query outputs ``[T, Q, K]``; support rides along to give the moments."""
        size = episodes.support_x.shape[1]
        both = torch.cat([episodes.support_x, episodes.query_x], dim=1)
        return self.forward(both, weights, size)[:, size:]

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adaptation."""
        weights = self.adapt(batch, self.settings.steps, not self.settings.first_order)
        return task_loss(self.answer(batch, weights), batch.query_y).mean()

    def predict(self, episodes: Episodes) -> Tensor:
        """Adapt for ``test_steps``, then answer."""
        return self.predict_after(episodes, [self.settings.test_steps])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query outputs after each of the given numbers of inner steps, in one pass each."""
        results = []
        for count in steps:
            with torch.enable_grad():
                weights = self.adapt(episodes, count, second_order=False)
            with torch.no_grad():
                results.append(self.answer(episodes, weights))
        return results
