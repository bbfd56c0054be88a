"""Baseline++: a cosine classifier in pretraining and in adaptation (Chen et al., ICLR 2019).

Every class has a unit weight vector, and the logits are scaled cosines (section 3.2):

    logit_k(x) = s · ⟨f(x)/‖f(x)‖, w_k/‖w_k‖⟩

The backbone is trained with that head on all source classes; on an episode it is frozen, and a new
head, started at the class means, is fitted to the support by gradient descent.

Differs from the paper: the new head starts at the class means and not at random, and takes steps on
the whole support in place of 100 epochs of batches of four, so that few steps do. s is searched
(code: 2 up to 200 classes, else 10), and class vectors are of unit length, as the paper says (code:
learned lengths). The backbone is trained by the profile's recipe.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import BelowOne, NonNegative, Positive, Whole
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means, cross_entropy, task_loss
from metabench.episodes.source import Examples
from metabench.methods.base import Decay, FeatureMethod, Settings, Task
from metabench.methods.parts.distances import cosine
from metabench.methods.parts.fine_tuning import descend


class BaselinePlusPlusSettings(Settings):
    """Settings of both heads.

    Attributes:
        scale: s.
        finetune_lr, momentum, steps: of the head's descent on an episode (paper: 100 epochs).
    """

    weight_decay: Decay = 5e-4
    scale: Annotated[Positive, Log(1, 50)] = 10.0
    finetune_lr: Annotated[NonNegative, Log(1e-3, 0.5), ADAPTS] = 0.1
    momentum: BelowOne = 0.9
    steps: Annotated[Whole, Log(1, 300), ADAPTS] = 50


class BaselinePlusPlus(FeatureMethod):
    """Pretrains its own backbone, with the whole budget."""

    family = "feature"
    paper = "Chen et al. 2019"
    source_training = "supervised"
    Settings = BaselinePlusPlusSettings

    def __init__(self, backbone: Backbone, task: Task, settings: BaselinePlusPlusSettings):
        super().__init__(backbone, task, settings)
        self.head = nn.Parameter(torch.randn(task.classes, backbone.feature_dim))

    def loss(self, batch: Examples, progress: float) -> Tensor:  # type: ignore[override]
        """Cross-entropy over all source classes."""
        logits = self.settings.scale * cosine(self.backbone(batch.x[None]), self.head[None])
        return cross_entropy(logits[0], batch.y)

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[T, N, D]``."""
        return F.normalize(self.backbone(x), dim=-1)

    def classify(self, features: Episodes) -> Tensor:
        """Fit a cosine head to the support, then predict the queries."""
        assert features.ways is not None
        s = self.settings
        start = class_means(features.support_x, features.support_y, features.ways)

        def loss(w: dict[str, Tensor], step: int) -> Tensor:
            logits = s.scale * cosine(features.support_x, w["head"])
            return task_loss(logits, features.support_y).sum()

        with torch.enable_grad():
            head = descend(
                loss,
                {"head": start},
                lambda name, step: s.finetune_lr,
                s.momentum,
                range(s.steps),
                {},
            )["head"]
        return s.scale * cosine(features.query_x, head)
