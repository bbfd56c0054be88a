"""Meta-SGD (Li et al., arXiv 1707.09835, 2017).

Learn not only where to start but, for every single weight, which way and how far to go:

    θ_i' = θ − α ∘ ∇_θ L_{T_i}(f_θ)      (eq. 2; α has the shape of θ and may turn negative)
    min_{θ, α} Σ_i L_{T_i}(f_{θ_i'})     (eq. 3, on the queries)

The paper takes one step; where ``steps`` are more, the same α serves each.

Differs from the paper: batch norms use the moments of the support for support and queries alike;
classes beyond the slots of training start at the mean row, with the mean row's α.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Task
from metabench.methods.parts.inner_loop import (
    GradientMethod,
    InnerLoopSettings,
    Weights,
    rows_for,
)


class MetaSGDSettings(InnerLoopSettings):
    """``inner_lr`` is where every α starts."""

    steps: Annotated[Count, Choice(1, 2, 3, 5, 8)] = 1
    test_steps: Annotated[Whole, Log(1, 100), ADAPTS] = 1


class MetaSGD(GradientMethod):
    """Learned initialisation and learned per-weight step sizes."""

    family = "optimisation"
    paper = "Li et al. 2017"
    Settings = MetaSGDSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MetaSGDSettings):
        super().__init__(backbone, task, settings)
        weights = self.body() | self.head.start(None)
        self.names = list(weights)
        self.alpha = nn.ParameterList(
            torch.full_like(w, settings.inner_lr, requires_grad=True) for w in weights.values()
        )

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_i' = θ − α ∘ ∇_θ L_{T_i}(f_θ)``."""
        alpha = dict(zip(self.names, self.alpha, strict=True))
        ways = weights["head.weight"].shape[1]
        alpha |= {name: rows_for(a, ways) for name, a in alpha.items() if name.startswith("head.")}
        return {name: w - alpha[name] * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss; its gradient goes to θ and α."""
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
