"""Ridge regression on frozen pretrained features, in closed form.

``W = argmin ‖XW − Y‖² + λ‖W‖²`` on the support (Hoerl & Kennard 1970). Classes are one-hot targets;
regression takes the targets as they are.
"""

from __future__ import annotations

from torch import Tensor

from metabench.config.bounds import Positive
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts import heads

LOGIT_SCALE = 10.0
"""Least-squares outputs lie near 0..1; as logits they would say that every class is likely."""


class RidgeSettings(Settings):
    """``penalty``: λ."""

    penalty: Positive = 1.0


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
            return heads.ridge(support, features.support_y, query, penalty)
        targets = one_hot(features.support_y, features.ways, support)
        return LOGIT_SCALE * heads.ridge(support, targets, query, penalty)
