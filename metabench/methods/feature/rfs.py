"""RFS: a good embedding is all you need (Tian et al., ECCV 2020): self-distillation, then a probe.

The pretrained network is the teacher of a copy of itself ("born again", eq. 6–7):

    min_φ'  α CE(f_φ'(x), y) + β KL(softmax(f_φ(x)/τ) ‖ softmax(f_φ'(x)/τ))

and each episode gets a logistic regression on the student's unit features. The teacher is the
pretrained backbone, the student spends what is left of the budget.

Differs from the paper: one generation (paper: a sequence), whose student starts where the teacher
ended and not at random, as its part of the budget would not suffice to start again. C is searched
and starts at 10 (code: 1, with five augmented copies of every support example).
"""

from __future__ import annotations

import copy
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import NonNegative, Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, cross_entropy
from metabench.episodes.source import Examples
from metabench.methods.base import Decay, FeatureMethod, Settings, Task
from metabench.methods.parts.logistic import fitted


class RFSSettings(Settings):
    """Settings of the distillation and of the head.

    Attributes:
        alpha, beta: weights of the two terms (paper: 0.5 each).
        temperature: τ (code: 4).
        c: inverse penalty of the logistic regression, as in scikit-learn.
    """

    weight_decay: Decay = 5e-4
    c: Annotated[Positive, Log(0.1, 100), ADAPTS] = 10.0
    alpha: Annotated[NonNegative, Log(0.05, 2)] = 0.5
    beta: Annotated[NonNegative, Log(0.05, 2)] = 0.5
    temperature: Annotated[Positive, Log(1, 20)] = 4.0


class RFS(FeatureMethod):
    """A logistic probe on a self-distilled embedding."""

    family = "feature"
    paper = "Tian et al. 2020"
    source_training = "supervised"
    start = "pretrained"
    Settings = RFSSettings

    def __init__(self, backbone: Backbone, task: Task, settings: RFSSettings):
        super().__init__(backbone, task, settings)
        self.head = nn.Linear(backbone.feature_dim, task.classes)
        student = nn.ModuleDict({"backbone": backbone, "head": self.head})
        self.teacher = copy.deepcopy(student).requires_grad_(False)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Teacher and student both start at the pretrained backbone and classifier."""
        self.load_state_dict(weights, strict=False)
        self.teacher.load_state_dict(weights)

    def train(self, mode: bool = True) -> RFS:
        """The teacher always is in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(self, batch: Examples, progress: float) -> Tensor:  # type: ignore[override]
        """Cross-entropy and distillation; ``τ²`` keeps their gradients in proportion (Hinton)."""
        s = self.settings
        x = batch.x[None]
        logits = self.head(self.backbone(x))[0]
        with torch.no_grad():
            target = self.teacher["head"](self.teacher["backbone"](x))[0]
        divergence = F.kl_div(
            (logits / s.temperature).log_softmax(-1),
            (target / s.temperature).log_softmax(-1),
            log_target=True,
            reduction="batchmean",
        )
        return s.alpha * cross_entropy(logits, batch.y) + s.beta * s.temperature**2 * divergence

    def embed(self, x: Tensor) -> Tensor:
        """The student's unit features ``[T, N, D]``."""
        return F.normalize(self.backbone(x), dim=-1)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: logits of a logistic regression on the support."""
        return fitted(features, self.settings.c)
