"""Meta-Transfer Learning (Sun et al., CVPR 2019).

The pretrained weights Θ stay; what is meta-learned is light: one scale for every kernel, one shift
for every filter, and the start θ of the classifier. Only the classifier adapts in the inner loop:

    SS(X; W, b; Φ) = (W ⊙ Φ_S1) X + (b + Φ_S2)             (eq. 7; Φ_S1 starts at 1, Φ_S2 at 0)
    θ' = θ − β ∇_θ L_support(Θ, Φ, θ)                       (eq. 3)
    Φ, θ ← Φ, θ − γ ∇_{Φ, θ} L_query(Θ, Φ, θ')              (eq. 4-5)

A convolution before a normalisation has no bias; there the normalisation's bias is shifted.

Differs from the paper: training tasks are drawn at random, without the hard-task meta-batches of
section 4.3, which no other method here has. ``steps`` inner steps in place of 20 to 100 at β =
0.01, as every one is differentiated: the outer gradient goes through them, where the authors' code
keeps the first order. Φ and θ share one learning rate (code: 1e-4 and 1e-3). Pretraining is a
shared one, on a share of the budget, and its classifier is dropped. Batch norms use the moments of
the support and further ways are answered as in ``maml``, so that queries do not see each other and
any number of ways is possible.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Task
from metabench.methods.parts.inner_loop import HeadGradientMethod, InnerLoopSettings, Weights


class MTL(HeadGradientMethod):
    """Scales and shifts on a frozen, pretrained backbone."""

    family = "hybrid"
    paper = "Sun et al. 2019"
    start = "pretrained"
    kinds = frozenset({"image", "text", "vector"})

    def __init__(self, backbone: Backbone, task: Task, settings: InnerLoopSettings):
        super().__init__(backbone, task, settings)
        backbone.requires_grad_(False)
        kernels = [(n, w) for n, w in backbone.named_parameters() if w.dim() > 1]
        biases = [(n, b) for n, b in backbone.named_parameters() if n.endswith("bias")]
        self.scaled, self.shifted = [n for n, _ in kernels], [n for n, _ in biases]
        self.scales = nn.ParameterList(torch.ones_like(_kernel_view(w)) for _, w in kernels)
        self.shifts = nn.ParameterList(torch.zeros_like(b) for _, b in biases)

    def body(self) -> dict[str, Tensor]:
        """Θ under Φ: the backbone's weights, scaled and shifted."""
        weights: dict[str, Tensor] = dict(self.backbone.named_parameters())
        scaled = zip(self.scaled, self.scales, strict=True)
        shifted = zip(self.shifted, self.shifts, strict=True)
        return (
            weights
            | {name: weights[name] * scale for name, scale in scaled}
            | {name: weights[name] + shift for name, shift in shifted}
        )

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ' = θ − β ∇_θ L_support(Θ, Φ, θ)``."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adapting the classifier."""
        batch = self.features(batch)
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()


def _kernel_view(weight: Tensor) -> Tensor:
    """One entry per kernel: ``[C', C, 1, 1]`` of a convolution, ``[C', 1]`` of a linear layer."""
    return weight[:, :, :1, :1] if weight.dim() == 4 else weight[:, :1]
