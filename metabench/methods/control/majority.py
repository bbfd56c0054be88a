"""Majority: ignores the inputs and predicts the labels' distribution in the support.

``p(y = k) = (|S_k| + 1) / (|S| + K)``, or the mean of the support's targets in regression. With a
balanced support this is chance, and every method has to be above it.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, one_hot
from metabench.methods.base import Method


class Majority(Method):
    """The most frequent label, whatever the query."""

    family = "control"
    paper = "–"
    source_training = "none"
    kinds = frozenset({"image", "text", "vector", "regression"})

    def predict(self, episodes: Episodes) -> Tensor:
        """Log of the smoothed class frequencies; regression: the mean target."""
        queries = episodes.query_x.shape[1]
        if episodes.ways is None:
            return episodes.support_y.mean(1, keepdim=True).expand(-1, queries, -1)
        like = next(self.parameters())
        counts = one_hot(episodes.support_y, episodes.ways, like).sum(1, keepdim=True)
        return (counts + 1).log().expand(-1, queries, -1)
