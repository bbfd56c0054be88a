"""PT+MAP: power transform and maximum a-posteriori (Hu, Gripon & Pateux, ICANN 2021).

Features are made more Gaussian, f̃ = normalise(sign(f) |f|^β), and centred over the episode. Then
class centres and an assignment M of queries to classes are improved in turn (algorithm 1):

    M = Sinkhorn(exp(−λ ‖f̃_q − c_k‖²)),  rows sum to 1, columns to Q/K
    c_k ← c_k + α (μ_k − c_k),  μ_k = (Σ_{S_k} f̃_i + Σ_q M_qk f̃_q) / (|S_k| + Σ_q M_qk)

The columns state that every class has equally many queries. That is true of this benchmark's
episodes and false in most applications; Veilleux et al. (2021) show what it is worth.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from metabench.config.bounds import Count, Positive, Share, Whole
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means, one_hot
from metabench.methods.base import FeatureMethod, Settings
from metabench.methods.parts.distances import squared_euclidean


class PTMAPSettings(Settings):
    """Settings, all from the paper.

    Attributes:
        power: β.
        inverse_temperature: λ; 1/λ weighs the entropy of M in optimal transport (Cuturi 2013).
        step_size: α, of the centres.
        steps: updates of the centres.
        sweeps: of Sinkhorn's algorithm.
    """

    power: Positive = 0.5
    inverse_temperature: Positive = 10.0
    step_size: Annotated[Share, Log(1e-3, 1), ADAPTS] = Field(0.2, gt=0)
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

    def assign(self, query: Tensor, centres: Tensor) -> Tensor:
        """Log of the balanced assignment, ``[T, Q, K]``."""
        log_m = -self.settings.inverse_temperature * squared_euclidean(query, centres)
        columns = torch.tensor(query.shape[1] / centres.shape[1]).log()
        for _ in range(self.settings.sweeps):
            log_m = log_m - log_m.logsumexp(1, keepdim=True) + columns
            log_m = log_m - log_m.logsumexp(2, keepdim=True)
        return log_m

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: log of the last assignment."""
        assert features.ways is not None
        both = torch.cat([features.support_x, features.query_x], dim=1)
        both = F.normalize(both - both.mean(1, keepdim=True), dim=-1)
        support, query = both.split([features.support_x.shape[1], features.query_x.shape[1]], dim=1)
        known = one_hot(features.support_y, features.ways, support)
        centres = class_means(support, features.support_y, features.ways)
        for _ in range(self.settings.steps):
            weight = torch.cat([known, self.assign(query, centres).exp()], dim=1)
            means = weight.mT @ both / weight.sum(1)[..., None]
            centres = centres + self.settings.step_size * (means - centres)
        return self.assign(query, centres)
