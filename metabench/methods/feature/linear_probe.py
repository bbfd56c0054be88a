"""Linear probe: logistic regression on frozen pretrained features.

The plainest transfer, and a hard one to beat (Chen et al. 2019; Tian et al. 2020). On the support,
with features of unit length ``f̃(x) = f(x)/‖f(x)‖``:

    min_{W, b}  ½‖W‖² + C Σ_i CE(W f̃(x_i) + b, y_i)

Differs from the paper: C is searched and starts at 10 (code: 1, with five augmented copies of every
support example, so five times the C for one copy each). All tasks are solved at once, by conjugate
gradients, in place of one run of L-BFGS a task.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts.logistic import fitted


class LinearProbeSettings(Settings):
    """``c``: C, the inverse penalty, as in scikit-learn."""

    c: Annotated[Positive, Log(0.1, 100), ADAPTS] = 10.0


class LinearProbe(FeatureMethod):
    """Nothing is trained but the head, per task, to convergence."""

    family = "feature"
    paper = "Tian et al. 2020"
    source_training = "none"
    start = "pretrained"
    Settings = LinearProbeSettings

    def embed(self, x: Tensor) -> Tensor:
        """``f̃``: unit vectors ``[T, N, D]``."""
        return F.normalize(self.backbone(x), dim=-1)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: logits ``W f̃(x) + b`` of the fitted classifier."""
        return fitted(features, self.settings.c)
