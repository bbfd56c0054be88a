"""A logistic probe: the head that linear_probe, random_features and rfs share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metabench.config.bounds import Positive
from metabench.episodes import Episodes
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts.heads import logistic


class ProbeSettings(Settings):
    """``c``: inverse penalty, as in scikit-learn."""

    c: Positive = 10.0


class Probe(FeatureMethod):
    """Logistic regression on unit features, fitted to convergence on each support."""

    Settings = ProbeSettings

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[T, N, D]``."""
        return F.normalize(self.backbone(x), dim=-1)

    def classify(self, features: Episodes) -> Tensor:
        """Logits of the fitted classifier."""
        assert features.ways is not None
        f = features
        return logistic(f.support_x, f.support_y, f.query_x, features.ways, self.settings.c)
