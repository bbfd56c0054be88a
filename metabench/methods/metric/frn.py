"""FRN: feature map reconstruction networks (Wertheimer, Tang & Hariharan, CVPR 2021).

A query belongs to the class whose support can rebuild its feature map. With S_k the class's local
features (|S_k|·P rows) and X the query's (P rows), ridge regression has a closed form (eq. 5–8):

    X̄_k = ρ X S_kᵀ (S_k S_kᵀ + λI)⁻¹ S_k = ρ X (S_kᵀS_k + λI)⁻¹ S_kᵀS_k
    logit_k = −γ ‖X − X̄_k‖² / P,      λ = (|S_k| P / C) e^α,   ρ = e^β

α, β and γ are learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod, Queries, Settings, Task, Tasks, TrainingWays
from metabench.methods.parts import cholesky


class FRNSettings(Settings):
    """Training episodes as for prototypical networks."""

    ways: TrainingWays = 20
    tasks: Tasks = 1
    queries: Queries = 5


class FRN(FeatureMethod):
    """Features are maps ``[T, N, C, P]``, divided by √C."""

    family = "metric"
    paper = "Wertheimer et al. 2021"
    Settings = FRNSettings

    def __init__(self, backbone: Backbone, task: Task, settings: FRNSettings):
        super().__init__(backbone, task, settings)
        self.alpha, self.beta = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.gamma = nn.Parameter(torch.ones(()))

    def embed(self, x: Tensor) -> Tensor:
        """Local features ``[T, N, C, P]``."""
        maps = self.backbone.maps(x)
        return maps / maps.shape[2] ** 0.5

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: minus scaled errors of reconstruction."""
        assert features.ways is not None
        s, x = features.support_x, features.query_x
        channels, positions = s.shape[2:]
        member = one_hot(features.support_y, features.ways, s)  # [T, S, K]
        gram = torch.einsum("tsk,tscp,tsdp->tkcd", member, s, s)  # S_kᵀ S_k
        penalty = (member.sum(1).clamp_min(1) * positions / channels) * self.alpha.exp()  # [T, K]
        eye = torch.eye(channels, dtype=s.dtype, device=s.device)
        project = cholesky.solve(gram + penalty[..., None, None] * eye, gram)  # [T, K, C, C]
        rebuilt = self.beta.exp() * torch.einsum("tqcp,tkcd->tqkdp", x, project)
        error = (x[:, :, None] - rebuilt).square().sum((-1, -2)) / positions
        return -self.gamma * error
