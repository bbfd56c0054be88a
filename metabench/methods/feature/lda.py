"""Linear discriminant analysis with the source's covariance, shrunk towards the identity.

One support example a class says nothing of how classes vary, so the covariance Σ within classes is
taken from the source's training classes (pooled, after Ledoit & Wolf 2004), the means from the
support (Fisher 1936; Mensink et al. 2013 use the same to add classes at near-zero cost):

    log p(y = k | x) = −½ (f̃(x) − c_k)ᵀ Σ_s⁻¹ (f̃(x) − c_k) + const
    Σ_s = (1 − s) Σ + s (tr Σ / D) I      (Friedman 1989)

f̃ are the centred features of unit length of ``simpleshot``, whose nearest class mean is s = 1.

Σ is measured on classes, and where nothing was held out on examples, that the backbone was trained
to tell apart. What it calls noise in them is not what new classes vary in: whitened by Σ itself
(s = 0), new classes fall some ten points behind the nearest mean, and to chance where the backbone
has memorised its examples. So most of the weight is on the identity; how much is searched.

Differs from the paper: Σ is that of other classes than those that are told apart, and is shrunk.
"""

from __future__ import annotations

from typing import Annotated

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive, Share
from metabench.config.search import ADAPTS, Choice
from metabench.episodes import Episodes, class_means
from metabench.episodes.source import Source
from metabench.methods.base import Settings, Task
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import squared_euclidean


class LDASettings(Settings):
    """Settings of the density.

    Attributes:
        shrinkage: s, from Σ (0) to the nearest mean (1).
        scale: on the log-probabilities; a class mean of few shots is itself uncertain. It changes
            no decision.
    """

    shrinkage: Annotated[Share, Choice(0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0), ADAPTS] = 0.9
    scale: Positive = 0.2


class LDA(CentredMethod):
    """Nearest class mean in units of the spread of the source's classes.

    Attributes:
        axes: ``[D, D]``, the eigenvectors of Σ.
        variances: ``[D]``, its eigenvalues.
    """

    family = "feature"
    paper = "Fisher 1936"
    Settings = LDASettings
    axes: Tensor
    variances: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: LDASettings):
        super().__init__(backbone, task, settings)
        self.register_buffer("axes", torch.eye(backbone.feature_dim))
        self.register_buffer("variances", torch.ones(backbone.feature_dim))

    def fit_source_statistics(self, source: Source) -> None:
        """Take the mean of the source, and estimate Σ around the means of its classes."""
        super().fit_source_statistics(source)
        features, labels = source.features(super().embed)
        x, y = features.double().cpu(), labels.cpu()
        _, y = y.unique(return_inverse=True)
        residual = x - class_means(x[None], y[None], int(y.max()) + 1)[0][y]
        sigma = torch.from_numpy(ledoit_wolf(residual.numpy(), assume_centered=True)[0])
        variances, axes = torch.linalg.eigh(sigma)
        self.axes.copy_(axes)
        self.variances.copy_(variances)

    def embed(self, x: Tensor) -> Tensor:
        """``f̃`` along the axes of Σ: unit vectors ``[T, N, D]``."""
        return super().embed(x) @ self.axes

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled log-densities."""
        assert features.ways is not None
        share, whole = self.settings.shrinkage, self.variances.mean()
        # floor: features that never vary leave Σ singular
        shrunk = ((1 - share) * self.variances + share * whole).clamp_min(1e-12)
        white = features.map(lambda f: f * shrunk.rsqrt())
        means = class_means(white.support_x, white.support_y, features.ways)
        return -0.5 * self.settings.scale * squared_euclidean(white.query_x, means)
