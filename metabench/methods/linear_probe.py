"""Linear probe: logistic regression on frozen pretrained features.

The plainest transfer, and a hard one to beat (Chen et al. 2019; Tian et al. 2020): L2-normalised
features of the source backbone, then ``min_W ½‖W‖² + C Σ CE(W f(x_i) + b, y_i)`` on the support.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from metabench.episodes import Episodes
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts.heads import logistic


class LinearProbeSettings(Settings):
    """``c``: inverse penalty, as in scikit-learn."""

    c: float = Field(10.0, gt=0)


class LinearProbe(FeatureMethod):
    """Nothing is trained but the head, per task, to convergence."""

    family = "feature"
    paper = "Tian et al. 2020"
    learns_from = "nothing"
    start = "pretrained"
    Settings = LinearProbeSettings

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[T, N, D]``."""
        return F.normalize(self.backbone(x), dim=-1)

    def classify(self, features: Episodes) -> Tensor:
        """Logits of the fitted classifier."""
        assert features.ways is not None
        return logistic(
            features.support_x,
            features.support_y,
            features.query_x,
            features.ways,
            self.settings.c,
        )
