"""Prototypical Networks (Snell, Swersky & Zemel, NeurIPS 2017).

Each class is the mean of its embedded support, ``c_k = (1/|S_k|) Σ f(x_i)`` (eq. 1), and a query is
classified by squared Euclidean distance to the class means (eq. 2):

    p(y = k | x) ∝ exp(−‖f(x) − c_k‖²)

Differs from the paper: shots of training episodes are drawn from the profile's list, where the
paper trains a network for each number of shots in the test.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, class_means
from metabench.methods.base import FeatureMethod, Queries, Settings, Tasks, TrainingWays
from metabench.methods.parts.distances import squared_euclidean


class ProtoNetSettings(Settings):
    """More ways in training than in the test make the embedding sharper (paper, 2.7)."""

    ways: TrainingWays = 20
    tasks: Tasks = 1
    queries: Queries = 5


class ProtoNet(FeatureMethod):
    """Nearest class mean in a learned space; the loss is cross-entropy over ``−‖·‖²``."""

    family = "metric"
    paper = "Snell et al. 2017"
    Settings = ProtoNetSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: minus squared distances to the prototypes."""
        assert features.ways is not None
        prototypes = class_means(features.support_x, features.support_y, features.ways)
        return -squared_euclidean(features.query_x, prototypes)
