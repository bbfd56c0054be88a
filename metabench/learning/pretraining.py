"""Pretraining of the shared source backbone: ordinary supervised learning on the source.

Classification: a linear classifier over all training classes. Regression: one network for the
mixture of all tasks (the "pretrained" baseline of Finn et al. 2017, 5.1). Runs in the same loop and
under the same budget as every method, and is selected on the same ``val`` episodes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, class_means
from metabench.episodes.source import Examples
from metabench.methods.base import Batch, Decay, LearningRate, Method, Settings, Task
from metabench.methods.parts.distances import cosine
from metabench.methods.parts.inner_loop import Head


class PretrainSettings(Settings):
    """Plain batches with weight decay, as in the baselines of the field.

    Small batches and a high learning rate: within a budget of few examples, steps are what is
    scarce.
    """

    lr: LearningRate = 5e-3
    weight_decay: Decay = 5e-4
    batch: Batch = 32


class Pretrain(Method):
    """Backbone and classifier (or regression head); scored by nearest class mean."""

    family = "feature"
    paper = "Chen et al. 2019 (Baseline)"
    source_training = "supervised"
    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = PretrainSettings

    def __init__(self, backbone: Backbone, task: Task, settings: PretrainSettings):
        super().__init__(backbone, task, settings)
        self.head: nn.Module
        if task.kind == "regression":
            self.head = Head(backbone.feature_dim, task.outputs)
        else:
            self.head = nn.Linear(backbone.feature_dim, task.classes)

    def _outputs(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        return F.linear(features, self.head.weight, self.head.bias)  # type: ignore[arg-type]

    def loss(self, batch: Examples, progress: float) -> Tensor:
        """Cross-entropy over the source classes, or squared error."""
        outputs = self._outputs(batch.x[None])[0]
        if self.task.kind == "regression":
            return F.mse_loss(outputs, batch.y)
        return F.cross_entropy(outputs, batch.y)

    def predict(self, episodes: Episodes) -> Tensor:
        """Cosine to class means; regression: the unadapted network."""
        if episodes.ways is None:
            return self._outputs(episodes.query_x)
        features = episodes.map(self.backbone)
        means = class_means(features.support_x, features.support_y, episodes.ways)
        return 10 * cosine(features.query_x, means)
