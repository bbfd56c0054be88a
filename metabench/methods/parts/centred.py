"""CL2N features (Wang et al. 2019): centred by the mean of the source's features, then unit length.

f̃(x) = (f(x) − f̄_base) / ‖f(x) − f̄_base‖
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.episodes.source import Source
from metabench.methods.base import FeatureMethod, Task


class CentredMethod(FeatureMethod):
    """A frozen pretrained backbone, its features centred by the source's and normalised.

    Attributes:
        centre: ``[D]``, mean feature of the source's training classes (``fit_source_statistics``).
    """

    source_training = "none"
    start = "pretrained"
    centre: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: object):
        super().__init__(backbone, task, settings)
        self.register_buffer("centre", torch.zeros(backbone.feature_dim))

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[T, N, D]``."""
        return F.normalize(self.backbone(x) - self.centre, dim=-1)

    def fit_source_statistics(self, source: Source) -> None:
        """Take the mean feature of the source."""
        features, _ = source.features(self.backbone)
        self.centre.copy_(features.mean(0))
