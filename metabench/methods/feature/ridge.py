"""Ridge regression on frozen pretrained features, in closed form (Hoerl & Kennard 1970).

``W, b = argmin ‖XW + b − Y‖² + λ‖W‖²`` on the support. The intercept, which has no penalty, makes
the plane go through the means ``x̄`` and ``ȳ``, so

    ŷ = ȳ + (x − x̄) W        W = argmin ‖(X − x̄) W − (Y − ȳ)‖² + λ‖W‖²

Classes are one-hot targets; regression takes the targets as they are.

Differs from the paper: which regresses a number on standardised variables. Here features are
centred only, as features of one network share a unit; classes are one-hot targets, and outputs
times ten are logits.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts.ridge import ridge_weights

LOGIT_SCALE = 10.0
"""Least-squares outputs lie near 0..1; as logits they would say that every class is likely."""


class RidgeSettings(Settings):
    """``penalty``: λ on the weights; the intercept has none."""

    penalty: Annotated[Positive, Log(0.01, 100), ADAPTS] = 1.0


def ridge(support: Tensor, targets: Tensor, query: Tensor, penalty: float) -> Tensor:
    """``ŷ = ȳ + (x − x̄) W``, for all tasks at once.

    Args:
        support: ``[T, S, D]``.
        targets: ``[T, S, K]``.
        query: ``[T, Q, D]``.
        penalty: λ.

    Returns:
        ``[T, Q, K]``; W is computed in float64.
    """
    centre, mean = support.mean(1, keepdim=True), targets.mean(1, keepdim=True)
    weights = ridge_weights(support - centre, targets - mean, penalty)
    weights = weights.mT.contiguous().mT  # a product with few columns takes half the time
    return query @ weights + (mean - centre @ weights)


class Ridge(FeatureMethod):
    """Nothing is trained but the head, per task."""

    family = "feature"
    paper = "Hoerl & Kennard 1970"
    source_training = "none"
    start = "pretrained"
    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = RidgeSettings

    def classify(self, features: Episodes) -> Tensor:
        """Scaled least-squares outputs ``[T, Q, ways]``; regression: values ``[T, Q, D]``."""
        support, query, penalty = features.support_x, features.query_x, self.settings.penalty
        if features.ways is None:
            return ridge(support, features.support_y, query, penalty)
        targets = one_hot(features.support_y, features.ways, support)
        return LOGIT_SCALE * ridge(support, targets, query, penalty)
