"""Relation Network (Sung et al., CVPR 2018): the comparison itself is learned.

A query's feature map is set beside the sum of a class's support maps, and a small network g scores
how they relate (eq. 1); scores are regressed to 1 for the right class and 0 for the others (eq. 2):

    r_k(x) = sigmoid(g([Σ_{i ∈ S_k} f(x_i), f(x)]))      L = Σ_k (r_k − 1[y = k])²

Differs from the paper: the sum is divided by |S_k|, so that any number of shots looks alike. The
paper's g has two 3×3 convolutions with pooling; on the 3×3 positions that a 28×28 image leaves, 1×1
convolutions and a mean over positions serve, and they apply to texts and vectors too. The squared
error is the mean over classes, not the sum. What ``predict`` returns goes into a softmax, which
keeps the order of the scores.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Width
from metabench.episodes import Episodes, class_means, one_hot
from metabench.methods.base import FeatureMethod, Queries, Settings, Task


class RelationNetSettings(Settings):
    """``hidden``: width of g."""

    queries: Queries = 5
    hidden: Width = 64


class RelationNet(FeatureMethod):
    """Features are maps ``[T, N, C, P]``."""

    family = "metric"
    paper = "Sung et al. 2018"
    Settings = RelationNetSettings

    def __init__(self, backbone: Backbone, task: Task, settings: RelationNetSettings):
        super().__init__(backbone, task, settings)
        hidden = settings.hidden
        self.local = nn.Sequential(
            nn.Linear(2 * backbone.channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.score = nn.Sequential(nn.Linear(hidden, 8), nn.ReLU(), nn.Linear(8, 1))

    def embed(self, x: Tensor) -> Tensor:
        """Local features ``[T, N, C, P]``."""
        return self.backbone.maps(x)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: what goes into the sigmoid."""
        ways, q = features.ways, features.query_x
        assert ways is not None
        shape = q.shape[2:]
        classes = class_means(features.support_x.flatten(2), features.support_y, ways)
        classes = classes.unflatten(-1, shape)[:, None].expand(-1, q.shape[1], -1, -1, -1)
        queries = q[:, :, None].expand(-1, -1, ways, -1, -1)
        pairs = torch.cat([classes, queries], dim=3).mT  # [T, Q, K, P, 2C]
        return self.score(self.local(pairs).mean(-2)).squeeze(-1)

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Squared error of the relation scores (eq. 2)."""
        assert batch.ways is not None
        relation = self.classify(batch.map(self.embed)).sigmoid()
        return F.mse_loss(relation, one_hot(batch.query_y, batch.ways, relation))
