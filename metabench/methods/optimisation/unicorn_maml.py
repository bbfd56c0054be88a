"""UNICORN-MAML (Ye & Chao, ICLR 2022): a head that starts alike for all classes.

MAML's rows are learned for slots, and which class takes which slot changes the answer. Here one row
w is every class's start (section 6), so no order matters and any number of ways will do:

    w_k = w for all k;   θ_i' = θ − α ∇_θ L_{T_i}(f_θ), repeated;   min_θ Σ_i L_{T_i}(f_{θ_i'})

As long as the rows are equal, the body's gradient Σ_k (p_k − y_k) w is zero: the first inner step
moves the head alone, and the body follows from the second on. So there are at least two, and by
default one more than MAML has; the paper finds that many help (section 4).

Differs from the paper: w is not learned but 0. That changes nothing: softmax sees differences of
logits alone, and w adds the same wᵀf_θ(x) to all of them, before every step and after, so its
gradient is zero however many there are (Kao et al., ICLR 2022, call a head of zeros the zeroing
trick). Training starts from random weights, not from a pretrained backbone, so that the head is all
that tells it from ``maml``; for the same reason it is of second order, where the authors' code is
of first; logits have no temperature; batch norms use the moments of the support.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Task
from metabench.methods.parts.inner_loop import (
    GradientMethod,
    InnerLoopSettings,
    Weights,
    per_task,
)


class UnicornMAMLSettings(InnerLoopSettings):
    """The first step is the head's alone."""

    steps: Annotated[Count, Field(ge=2), Choice(2, 3, 4, 6, 9)] = 6
    test_steps: Annotated[Whole, Log(2, 100), ADAPTS] = 11


class UnicornMAML(GradientMethod):
    """MAML that prefers no class before it has seen one.

    Attributes:
        row: w ``[D]``.
    """

    row: Tensor
    family = "optimisation"
    paper = "Ye & Chao 2022"
    kinds = frozenset({"image", "text", "vector"})
    order_sensitive = False
    Settings = UnicornMAMLSettings

    def __init__(self, backbone: Backbone, task: Task, settings: UnicornMAMLSettings):
        super().__init__(backbone, task, settings)
        del self.head
        self.register_buffer("row", torch.zeros(backbone.feature_dim), persistent=False)

    def initial(self, episodes: Episodes) -> Weights:
        """The backbone's θ, and ``w_k = w`` for every class k."""
        assert episodes.ways is not None
        weight = self.row.expand(len(episodes), episodes.ways, -1)
        head = {"head.weight": weight, "head.bias": torch.zeros_like(weight[..., 0])}
        return per_task(self.body(), len(episodes)) | {
            name: start.requires_grad_() for name, start in head.items()
        }

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_i' = θ − α ∇_θ L_{T_i}(f_θ)``, as in MAML."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adaptation (second order)."""
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
