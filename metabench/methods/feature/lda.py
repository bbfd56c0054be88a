"""Linear discriminant analysis with the source's covariance.

One support example a class says nothing of how classes vary, so the covariance Σ within classes is
taken from the source's training classes (pooled, shrunk after Ledoit & Wolf 2004), the means from
the support (Fisher 1936; Mensink et al. 2013 use the same to add classes at near-zero cost):

    log p(y = k | x) = −½ (f(x) − c_k)ᵀ Σ⁻¹ (f(x) − c_k) + const
"""

from __future__ import annotations

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive
from metabench.episodes import Episodes, class_means
from metabench.episodes.source import Source
from metabench.methods.base import FeatureMethod, Settings, Task
from metabench.methods.parts.distances import squared_euclidean


class LDASettings(Settings):
    """``scale``: on the log-probabilities; a class mean of few shots is itself uncertain."""

    scale: Positive = 0.2


class LDA(FeatureMethod):
    """Nearest class mean after whitening by the source's within-class covariance.

    Attributes:
        whiten: ``[D, D]``, a square root of Σ⁻¹.
    """

    family = "feature"
    paper = "Fisher 1936"
    source_training = "none"
    start = "pretrained"
    Settings = LDASettings
    whiten: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: LDASettings):
        super().__init__(backbone, task, settings)
        self.register_buffer("whiten", torch.eye(backbone.feature_dim))

    def fit_source_statistics(self, source: Source) -> None:
        """Estimate Σ on the source."""
        features, labels = source.features(self.backbone)
        x, y = features.double().cpu(), labels.cpu()
        _, y = y.unique(return_inverse=True)
        residual = x - class_means(x[None], y[None], int(y.max()) + 1)[0][y]
        sigma = torch.from_numpy(ledoit_wolf(residual.numpy(), assume_centered=True)[0])
        # no Cholesky: features that never vary leave Σ singular
        values, vectors = torch.linalg.eigh(sigma)
        self.whiten.copy_(vectors * values.clamp_min(1e-12).rsqrt())

    def embed(self, x: Tensor) -> Tensor:
        """Whitened features ``[T, N, D]``."""
        return self.backbone(x) @ self.whiten

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled log-densities."""
        assert features.ways is not None
        means = class_means(features.support_x, features.support_y, features.ways)
        return -0.5 * self.settings.scale * squared_euclidean(features.query_x, means)
