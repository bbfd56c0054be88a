"""P>M>F: pre-train, meta-train, fine-tune (Hu et al., CVPR 2022), on this package's backbones.

Supervised pretraining; then a prototypical network with scaled cosine similarity; then, for each
episode, a few gradient steps on its support S, whose augmented copies A(S) play the queries:

    θ' = θ − α ∇_θ CE(τ cos(f_θ(A(x_i)), c_k(θ)), y_i)      c_k(θ) = (1/|S_k|) Σ f_θ(x_i)

The queries are classified by the prototypes of ``f_{θ'}``.

Differs from the paper: the pretraining is the source's, supervised, and not an external
self-supervised one (DINO), so that all methods start from the same data. Gradient descent in place
of Adam, ``steps`` of it in place of 50. A is what the target declares, in strength as for other
methods; the paper shifts, cuts out and changes colours in all domains. One α serves all targets;
the paper chooses it for each domain on labelled episodes of that domain. The cosine has no additive
bias, which the softmax would cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import NonNegative, Positive, Share, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, class_means, task_loss
from metabench.methods.base import Method, Task
from metabench.methods.parts.augmented import AugmentedSupport, augmented_support
from metabench.methods.parts.distances import cosine
from metabench.methods.parts.inner_loop import Weights, gradients_of, per_task


class PMFSettings(AugmentedSupport):
    """Settings of the last two phases.

    Attributes:
        scale: where τ starts (paper: 10).
        finetune_lr: α; 0 leaves a prototypical network.
        steps: of fine-tuning (paper: 50).
        support_augmentation: strength of A.
    """

    scale: Annotated[Positive, Log(1, 50)] = 10.0
    finetune_lr: Annotated[NonNegative, Log(1e-3, 0.2), ADAPTS] = 0.01
    steps: Annotated[Whole, Log(1, 100), ADAPTS] = 10
    support_augmentation: Annotated[Share, Choice(0.0, 0.5, 1.0), ADAPTS] = 1.0


class PMF(Method):
    """A prototypical network that fine-tunes itself on each support."""

    family = "hybrid"
    paper = "Hu et al. 2022"
    start = "pretrained"
    Settings = PMFSettings

    def __init__(self, backbone: Backbone, task: Task, settings: PMFSettings):
        super().__init__(backbone, task, settings)
        self.scale = nn.Parameter(torch.tensor(settings.scale))

    def compare(self, features: Tensor, support: Tensor, labels: Tensor, ways: int) -> Tensor:
        """Scaled cosines ``[T, N, ways]`` of ``features`` to the prototypes of ``support``."""
        return self.scale * cosine(features, class_means(support, labels, ways))

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Cross-entropy of the queries: the meta-training of a prototypical network."""
        assert batch.ways is not None
        f = batch.map(self.backbone)
        logits = self.compare(f.query_x, f.support_x, f.support_y, batch.ways)
        return task_loss(logits, batch.query_y).mean()

    def predict(self, episodes: Episodes) -> Tensor:
        """Fine-tune for ``steps``, then predict the queries."""
        return self.predict_after(episodes, [self.settings.steps])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query logits after each of the given numbers of fine-tuning steps, in one run."""
        assert episodes.ways is not None
        x, y, ways = episodes.support_x, episodes.support_y, episodes.ways
        alpha, size = self.settings.finetune_lr, x.shape[1]
        strength = self.settings.support_augmentation
        weights = per_task(dict(self.backbone.named_parameters()), len(episodes))
        logits: dict[int, Tensor] = {}

        def compared(queries: Tensor, weights: Weights) -> Tensor:
            """Logits of ``queries`` by the prototypes of the support, both under ``weights``."""
            f = self.backbone(torch.cat([x, queries], dim=1), weights)
            return self.compare(f[:, size:], f[:, :size], y, ways)

        for step in range(max(steps) + 1):
            if step > 0:
                with torch.enable_grad():
                    copies = augmented_support(episodes, strength, step).support_x
                    losses = task_loss(compared(copies, weights), y)
                    gradients = gradients_of(losses, weights)
                    weights = {name: w - alpha * gradients[name] for name, w in weights.items()}
            if step in steps:
                with torch.no_grad():
                    logits[step] = compared(episodes.query_x, weights)
        return [logits[step] for step in steps]
