"""Reptile (Nichol, Achiam & Schulman, arXiv 1803.02999, 2018).

Train on a task for k steps, then move the initialisation towards where that led:

    φ_i = U^k_{T_i}(θ)      θ ← θ + ε (1/n) Σ_i (φ_i − θ)      (batched version, algorithm 2)

No query is held out in training: a task's examples are all support. The paper suggests to treat
``θ − φ`` as a gradient for an adaptive optimiser, and the training loop's optimiser does.

Differs from the paper: U is plain gradient descent on all of a task's examples, where the paper has
Adam on mini-batches, because an inner loop here is a differentiable function of the weights; batch
norms use the support's moments, never the queries' (the paper's figures without transduction are
the ones to compare); training has as many shots as the profile says, not 15.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.bounds import Count, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes
from metabench.methods.base import Queries
from metabench.methods.parts.inner_loop import GradientMethod, InnerLoopSettings, Weights


class ReptileSettings(InnerLoopSettings):
    """Several inner steps are essential: one is joint training (paper, section 5).

    Attributes:
        queries: few, since they join the support.
    """

    steps: Annotated[Count, Field(ge=2), Choice(2, 4, 8, 16)] = 8
    test_steps: Annotated[Whole, Log(1, 100), ADAPTS] = 20
    queries: Queries = 5


class Reptile(GradientMethod):
    """The initialisation follows the adapted weights."""

    family = "optimisation"
    paper = "Nichol et al. 2018"
    Settings = ReptileSettings

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """A step of U: ``θ ← θ − α ∇_θ L_{T_i}(f_θ)``."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """A scalar whose value is the loss after adaptation, whose gradient is ``θ − φ``."""
        everything = replace(
            batch,
            support_x=torch.cat([batch.support_x, batch.query_x], dim=1),
            support_y=torch.cat([batch.support_y, batch.query_y], dim=1),
        )
        start = self.initial(everything)
        end = self.adapt(everything, self.settings.steps, second_order=False)
        products = [(w * (w - end[name]).detach()).sum() for name, w in start.items()]
        surrogate = torch.stack(products).sum() / len(batch)
        with torch.no_grad():
            value = self.support_loss(everything, end).mean()
        return value + surrogate - surrogate.detach()
