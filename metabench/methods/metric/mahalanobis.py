"""Mahalanobis prototypes: the head of Simple CNAPS (Bateni et al., CVPR 2020) on a learned space.

Each class has a metric of its own, its covariance shrunk to that of the task (eq. 1–3):

    p(y = k | x) ∝ exp(−½ (f(x) − c_k)ᵀ Q_k⁻¹ (f(x) − c_k))
    Q_k = λ_k Σ_k + (1 − λ_k) Σ + βI,        λ_k = |S_k| / (|S_k| + 1)

Σ_k and Σ are covariances of the embedded support of the class and of the whole task.

Differs from the paper: the head alone. The paper's backbone is pretrained on ImageNet, frozen, and
modulated for each task by learned layers (FiLM); here the backbone is trained through the head. β
is searched (paper: 1).
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import Log
from metabench.episodes import Episodes, class_means, one_hot
from metabench.methods.base import FeatureMethod, Queries, Settings
from metabench.methods.parts import cholesky


class MahalanobisSettings(Settings):
    """``beta``: β, the unit metric's share (paper: 1)."""

    queries: Queries = 5
    beta: Annotated[Positive, Log(0.05, 20)] = 1.0


class Mahalanobis(FeatureMethod):
    """Nearest class mean, with distances measured in units of the class's spread."""

    family = "metric"
    paper = "Bateni et al. 2020"
    Settings = MahalanobisSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: minus half squared Mahalanobis distances."""
        assert features.ways is not None
        x, q = features.support_x, features.query_x
        member = one_hot(features.support_y, features.ways, x)  # [T, S, K]
        counts = member.sum(1)  # [T, K]
        means = class_means(x, features.support_y, features.ways)
        residual = x - member @ means  # from the own class mean
        within = torch.einsum("tsk,tsd,tse->tkde", member, residual, residual)
        within = within / (counts - 1).clamp_min(1)[..., None, None]
        centred = x - x.mean(1, keepdim=True)
        whole = centred.mT @ centred / max(x.shape[1] - 1, 1)
        share = (counts / (counts + 1))[..., None, None]
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        metric = share * within + (1 - share) * whole[:, None] + self.settings.beta * eye
        factor = cholesky.factor(metric)  # [T, K, D, D]
        difference = q[:, None] - means[:, :, None]  # [T, K, Q, D]
        white = torch.linalg.solve_triangular(factor, difference.mT, upper=False)
        return -0.5 * white.square().sum(-2).mT
