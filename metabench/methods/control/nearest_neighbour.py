"""Nearest neighbour on raw inputs: what a method must beat to have learned anything.

Differs from the paper: the class scores are minus squared distances, so that there are
probabilities to score; the decision is the paper's.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod
from metabench.methods.parts.distances import squared_euclidean


class NearestNeighbour(FeatureMethod):
    """The class of the nearest support example in input space (Cover & Hart 1967)."""

    family = "control"
    paper = "Cover & Hart 1967"
    source_training = "none"
    kinds = frozenset({"image", "vector"})  # the numbers of words are no quantities

    def embed(self, x: Tensor) -> Tensor:
        """The inputs themselves, ``[T, N, D]``."""
        return x.flatten(2).float() if not x.is_floating_point() else x.flatten(2)

    def classify(self, features: Episodes) -> Tensor:
        """Minus the smallest squared distance to each class, ``[T, Q, ways]``."""
        assert features.ways is not None
        distance = squared_euclidean(features.query_x, features.support_x)  # [T, Q, S]
        member = one_hot(features.support_y, features.ways, distance)[:, None] > 0
        far = distance.amax(2, keepdim=True)[..., None] + 1  # for classes without support
        return -distance[..., None].where(member, far).amin(2)
