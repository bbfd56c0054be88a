"""PT+MAP: power transform and maximum a-posteriori (Hu, Gripon & Pateux, ICANN 2021).

Features are made more Gaussian, f̃ = normalise(f^β), and then centred and normalised once more: the
support by its own mean, the queries by theirs, so that a shift between the two is gone. From the
class means on, centres and an assignment M of queries to classes are improved in turn
(algorithm 1):

    M = Sinkhorn(exp(−λ ‖f̃_q − c_k‖²)),  rows sum to 1, columns to Q/K
    c_k ← c_k + α (μ_k − c_k),  μ_k = (Σ_{S_k} f̃_i + Σ_q M_qk f̃_q) / (|S_k| + Σ_q M_qk)

The columns state that every class has equally many queries. That is true of this benchmark's
episodes and false in most applications; Veilleux et al. (2021) show what it is worth.

Differs from the paper: Sinkhorn's algorithm makes a fixed number of sweeps, since the authors' test
of convergence takes all tasks together and would let one depend on others; a sweep ends with the
rows, so that each query has a distribution. Negative features, which the paper's backbones do not
have, keep their sign.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from metabench.config.bounds import Count, Positive, Share, Whole
from metabench.config.search import ADAPTS, Linear, Log
from metabench.episodes import Episodes, class_means, one_hot
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts.distances import squared_euclidean


class PTMAPSettings(Settings):
    """Settings, from the authors' code.

    Attributes:
        power: β.
        inverse_temperature: λ; 1/λ weighs the entropy of M in optimal transport (Cuturi 2013).
        step_size: α, of the centres.
        steps: updates of the centres.
        sweeps: of Sinkhorn's algorithm.
    """

    power: Annotated[Positive, Linear(0.25, 1), ADAPTS] = 0.5
    inverse_temperature: Annotated[Positive, Log(3, 30), ADAPTS] = 10.0
    step_size: Annotated[Share, Log(0.02, 1), ADAPTS] = Field(0.2, gt=0)
    steps: Whole = 20
    sweeps: Count = 30


class PTMAP(FeatureMethod):
    """Balanced assignment of queries to classes, on the shared backbone."""

    family = "transductive"
    paper = "Hu et al. 2021"
    source_training = "none"
    start = "pretrained"
    transductive = True
    Settings = PTMAPSettings

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[T, N, D]`` after the power transform."""
        f = self.backbone(x)
        return F.normalize(f.sign() * (f.abs() + 1e-6) ** self.settings.power, dim=-1)

    def assign(self, query: Tensor, centres: Tensor, price: Tensor) -> tuple[Tensor, Tensor]:
        """Log of the balanced assignment ``[T, Q, K]``, and the price of a place in each class.

        A class that too many queries chose becomes dearer. ``price`` ``[T, 1, K]``, the logarithm
        of Sinkhorn's scaling of a column, is where that starts.
        """
        affinity = -self.settings.inverse_temperature * squared_euclidean(query, centres)
        places = query.shape[1] / centres.shape[1]
        for _ in range(self.settings.sweeps):
            log_m = (affinity - price).log_softmax(-1)
            price = price + log_m.logsumexp(1, keepdim=True) - math.log(places)
        return (affinity - price).log_softmax(-1), price

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: log of the last assignment."""
        assert features.ways is not None
        support, query = (
            F.normalize(f - f.mean(1, keepdim=True), dim=-1)
            for f in (features.support_x, features.query_x)
        )
        both = torch.cat([support, query], dim=1)
        known = one_hot(features.support_y, features.ways, support)
        centres = class_means(support, features.support_y, features.ways)
        log_m, price = self.assign(query, centres, torch.zeros_like(known[:, :1]))
        for _ in range(self.settings.steps):
            weight = torch.cat([known, log_m.exp()], dim=1)
            means = weight.mT @ both / weight.sum(1)[..., None]
            centres = centres + self.settings.step_size * (means - centres)
            log_m, price = self.assign(query, centres, price)
        return log_m
