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
from metabench.episodes import Episodes
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.neighbours import vote


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
        return vote(features, self.settings.k)
