"""Random features: a logistic regression on a backbone that was never trained.

Differs from ``linear_probe`` in the weights alone, and so says what pretraining is worth beyond the
architecture (Saxe et al. 2011, "On random weights and unsupervised feature learning").

Differs from the paper: the network is the profile's backbone (paper: convolution and square
pooling) and the classifier a logistic regression on unit features (paper: a linear SVM), so that
the weights alone tell it from ``linear_probe``.
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


class RandomFeaturesSettings(Settings):
    """``c``: inverse penalty, as of ``linear_probe``."""

    c: Annotated[Positive, Log(0.1, 100), ADAPTS] = 10.0


class RandomFeatures(FeatureMethod):
    """Logistic probe on the initial weights."""

    family = "control"
    paper = "Saxe et al. 2011"
    source_training = "none"
    Settings = RandomFeaturesSettings

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[T, N, D]`` of the network as it was drawn."""
        return F.normalize(self.backbone(x), dim=-1)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``, by logistic regression on the support."""
        return fitted(features, self.settings.c)
