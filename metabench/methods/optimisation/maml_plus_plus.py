"""MAML++ (Antoniou, Edwards & Storkey, ICLR 2019): how to train your MAML.

Three of the paper's remedies change the inner and outer loss:

    L = Σ_i Σ_j v_j L_{T_i}(f_{θ_i^j})      queries after every step j: multi-step loss (eq. 3)
    θ_i^{j+1} = θ_i^j − α_{layer, j} ∇L     a learned step size per layer and step (LSLR)
    first order first, second order later   derivative-order annealing

The weights v start equal and shrink for all but the last step. The cosine schedule of the outer
learning rate is the training loop's.

Differs from the paper: batch norms use the moments of the task's own support at every step, in
place of running statistics for each step (BNRS), and all steps share scale and shift (no BNWB),
because no prediction here may depend on other queries; one model, where the paper averages the best
five; steps beyond those of training go on with the last step's rate; further ways as in ``maml``.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Share
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Task
from metabench.methods.parts.inner_loop import GradientMethod, InnerLoopSettings, Weights


class MAMLPlusPlusSettings(InnerLoopSettings):
    """Annealing, as shares of the training.

    Attributes:
        inner_lr: where every learned step size starts.
        second_order_from: progress at which second derivatives come in.
        multi_step_until: progress at which only the last step's loss (nearly) counts.
    """

    second_order_from: Share = 0.3
    multi_step_until: Share = Field(0.3, gt=0)


class MAMLPlusPlus(GradientMethod):
    """MAML with multi-step loss, learned step sizes and derivative-order annealing."""

    family = "optimisation"
    paper = "Antoniou et al. 2019"
    Settings = MAMLPlusPlusSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MAMLPlusPlusSettings):
        super().__init__(backbone, task, settings)
        weights = self.body() | self.head.start(None)
        self.layers = list(dict.fromkeys(name.rpartition(".")[0] for name in weights))
        self.rates = nn.Parameter(torch.full((len(self.layers), settings.steps), settings.inner_lr))

    def learning_rate(self, name: str, step: int) -> Tensor:
        """α of the parameter's layer; steps beyond those of training use the last one."""
        layer = self.layers.index(name.rpartition(".")[0])
        return self.rates[layer, min(step, self.settings.steps - 1)]

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_i^{j+1} = θ_i^j − α_{layer, j} ∇L``."""
        return {
            name: w - self.learning_rate(name, step) * gradients[name]
            for name, w in weights.items()
        }

    def importance(self, progress: float) -> list[float]:
        """v: equal at first; all but the last fall linearly to 3% of that (the authors' code)."""
        n = self.settings.steps
        left = max(1 - progress / self.settings.multi_step_until, 0.03)
        return [left / n] * (n - 1) + [1 - left * (n - 1) / n]

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the weighted query losses after each step."""
        second_order = progress >= self.settings.second_order_from
        path = self.inner_loop(batch, self.settings.steps, second_order)
        next(path)  # before the first step
        losses = [task_loss(self.query_logits(batch, w), batch.query_y).mean() for w in path]
        return torch.stack(losses) @ losses[0].new_tensor(self.importance(progress))
