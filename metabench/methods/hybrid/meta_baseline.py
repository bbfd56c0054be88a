"""Meta-Baseline (Chen et al., ICCV 2021).

Pretrain a classifier on all source classes, drop its head, then meta-train the embedding as a
nearest-centroid classifier by scaled cosine similarity (eq. 2), with a learned scale τ:

    p(y = k | x) ∝ exp(τ cos(f(x), c_k))      c_k = (1/|S_k|) Σ f(x_i)

Differs from the paper: both stages share one budget, so that a hybrid costs what other methods
cost; the paper trains each until ``val`` stops improving.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive
from metabench.config.search import Log
from metabench.episodes import Episodes, class_means
from metabench.methods.base import FeatureMethod, Settings, Task
from metabench.methods.parts.distances import cosine


class MetaBaselineSettings(Settings):
    """``scale``: where τ starts (paper: 10)."""

    scale: Annotated[Positive, Log(1, 50)] = 10.0


class MetaBaseline(FeatureMethod):
    """Cosine prototypes on a pretrained, then meta-trained embedding."""

    family = "hybrid"
    paper = "Chen et al. 2021"
    start = "pretrained"
    Settings = MetaBaselineSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MetaBaselineSettings):
        super().__init__(backbone, task, settings)
        self.scale = nn.Parameter(torch.tensor(settings.scale))

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled cosines to the class means."""
        assert features.ways is not None
        means = class_means(features.support_x, features.support_y, features.ways)
        return self.scale * cosine(features.query_x, means)
