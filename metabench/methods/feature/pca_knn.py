"""Nearest neighbours among the principal components of frozen features (Jégou & Chum, ECCV 2012).

The source gives the mean f̄ of its features and the eigenvectors U and eigenvalues λ of their
covariance. A feature keeps its first components, as many as hold a given share of the variance:

    g(x) = Λ^{−1/2} U_dᵀ (f(x) − f̄)        g̃(x) = g(x) / ‖g(x)‖        (Λ = I without whitening)

and the nearest support examples in g̃ vote as in ``knn``, which this is if all components are kept
as they are. No gradient is taken after pretraining. Directions that every class of the source
shares, such as brightness, have much of the variance and tell no classes apart: whitening takes
their weight away, and keeping fewer components limits the noise that it amplifies.

Differs from the paper: vectors are a network's features (paper: bags of local descriptors and
VLAD), and are not raised to a power before. The share of the variance is given and not the number
of components, as it means the same for backbones of any width. Neighbours vote for a class; the
paper ranks images.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Share
from metabench.config.search import ADAPTS, Choice
from metabench.episodes import Episodes
from metabench.episodes.source import Source
from metabench.methods.base import Settings, Task
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.neighbours import vote


class PCAKNNSettings(Settings):
    """Settings of the projection and of the vote.

    Attributes:
        k: neighbours; the whole support where it is smaller.
        variance: share of the source's variance that the components kept have at least.
        whiten: divide each component by its standard deviation on the source.
    """

    k: Annotated[Count, Choice(1, 3, 5, 10), ADAPTS] = 5
    variance: Annotated[Share, Field(gt=0), Choice(0.5, 0.7, 0.8, 0.9, 0.95, 0.99), ADAPTS] = 0.99
    whiten: Annotated[bool, Choice(False, True), ADAPTS] = True


class PCAKNN(CentredMethod):
    """A vote in the space that the source's covariance makes.

    Attributes:
        axes: ``[D, D]``, U: eigenvectors in columns, by falling eigenvalue.
        variances: ``[D]``, λ.
    """

    family = "feature"
    paper = "Jégou & Chum 2012"
    Settings = PCAKNNSettings
    axes: Tensor
    variances: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: PCAKNNSettings):
        super().__init__(backbone, task, settings)
        self.register_buffer("axes", torch.eye(backbone.feature_dim))
        self.register_buffer("variances", torch.ones(backbone.feature_dim))

    def fit_source_statistics(self, source: Source) -> None:
        """Mean and principal axes of the source's features."""
        features = source.features(self.backbone)[0].double()
        variances, axes = torch.linalg.eigh(features.T.cov())
        self.centre.copy_(features.mean(0))
        self.axes.copy_(axes.flip(1))
        self.variances.copy_(variances.flip(0))

    def embed(self, x: Tensor) -> Tensor:
        """Principal components ``Uᵀ (f(x) − f̄)``, ``[T, N, D]``."""
        return (self.backbone(x) - self.centre) @ self.axes

    def projection(self) -> Tensor:
        """``[D]``: what each component is multiplied with; zero for those that are not kept."""
        before = self.variances.cumsum(0) - self.variances  # of all larger components
        kept = before < self.settings.variance * self.variances.sum()
        # floor: features that never vary have no variance to divide by
        floor = 1e-6 * self.variances[0].clamp_min(torch.finfo(self.variances.dtype).tiny * 1e6)
        return kept * (self.variances.clamp_min(floor).rsqrt() if self.settings.whiten else 1.0)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: log of the (slightly smoothed) share of the vote."""
        scale = self.projection()
        return vote(features.map(lambda f: F.normalize(f * scale, dim=-1)), self.settings.k)
