"""k nearest neighbours on centred, normalised features, weighted by inverse distance.

p(y = k | x) ∝ Σ_{i ∈ N(x), y_i = k} 1 / ‖f̃(x) − f̃(x_i)‖        (Dudani 1976)

Differs from the paper: a vote weighs the reciprocal of its distance. The paper's main weight,
``(d_k − d_i) / (d_k − d_1)``, is zero for the last neighbour, which at one shot is a class.
Features are those of ``simpleshot``; each class keeps a small share, so that likelihoods are
finite.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import Count
from metabench.config.search import ADAPTS, Choice
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import squared_euclidean


class KNNSettings(Settings):
    """``k``: neighbours; the whole support where it is smaller."""

    k: Annotated[Count, Choice(1, 3, 5, 10), ADAPTS] = 5


class KNN(CentredMethod):
    """Votes of the nearest support examples in feature space."""

    family = "feature"
    paper = "Dudani 1976"
    Settings = KNNSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: log of the (slightly smoothed) share of the vote."""
        assert features.ways is not None
        distance = squared_euclidean(features.query_x, features.support_x).clamp_min(1e-12).sqrt()
        k = min(self.settings.k, distance.shape[-1])
        near, index = distance.topk(k, dim=-1, largest=False)  # [T, Q, k]
        labels = features.support_y[:, None].expand(-1, distance.shape[1], -1).gather(2, index)
        member = one_hot(labels, features.ways, distance)  # [T, Q, k, ways]
        votes = (member / near[..., None]).sum(2)
        share = votes / votes.sum(-1, keepdim=True)
        return (share + 0.01 / features.ways).log()
