"""DN4: deep nearest neighbour neural network (Li et al., CVPR 2019).

Images are compared to classes by local descriptors, without pooling them into one vector: each of a
query's P descriptors finds its κ nearest among all descriptors of a class (eq. 1):

    score_k(x) = Σ_{p=1..P} Σ_{j=1..κ} cos(x_p, NN_j(x_p; S_k))

Differs from the paper: logits are the mean and not the sum over P and κ, times ``scale``, so that
they do not grow with the image's size. The backbone is the profile's; the paper's has LeakyReLU and
pools twice only (P = 441 at 84 px). A class with fewer than κ descriptors is averaged over those it
has, one without any scores −1: supports here may be unbalanced.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from metabench.config.bounds import Count, Positive
from metabench.config.search import Choice, Log
from metabench.episodes import Episodes
from metabench.methods.base import FeatureMethod, Queries, Settings
from metabench.methods.parts.distances import cosine


class DN4Settings(Settings):
    """Settings of the image-to-class measure.

    Attributes:
        neighbours: κ (paper: 3); all there are where a class has fewer.
        scale: logits are the mean cosine times this, so that they do not grow with P and κ.
    """

    queries: Queries = 5
    neighbours: Annotated[Count, Choice(1, 3, 5)] = 3
    scale: Annotated[Positive, Log(1, 50)] = 20.0


class DN4(FeatureMethod):
    """Features are maps ``[T, N, C, P]``; nothing is learned but the embedding."""

    family = "metric"
    paper = "Li et al. 2019"
    Settings = DN4Settings

    def embed(self, x: Tensor) -> Tensor:
        """Local descriptors ``[T, N, C, P]``."""
        return self.backbone.maps(x)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled mean cosine to the nearest descriptors of each class."""
        assert features.ways is not None
        s, q = features.support_x, features.query_x
        positions = s.shape[-1]
        similarity = cosine(q.mT.flatten(1, 2), s.mT.flatten(1, 2))  # [T, QP, SP]
        owner = features.support_y.repeat_interleave(positions, dim=1)[:, None]
        scores = []
        for k in range(features.ways):
            own = similarity.masked_fill(owner != k, -torch.inf)
            near = own.topk(min(self.settings.neighbours, own.shape[-1]), dim=-1).values
            found = near.isfinite()
            mean = near.where(found, 0).sum(-1) / found.sum(-1).clamp_min(1)
            scores.append(mean.where(found.any(-1), -1).unflatten(1, (-1, positions)).mean(-1))
        return self.settings.scale * torch.stack(scores, dim=-1)
