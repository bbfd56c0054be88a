"""Reconstruction of feature maps by ridge regression, learned in episodes (Wertheimer et al. 2021).

The equations are those of ``frn``; on a pretrained backbone they are ``frn_pretrained``.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.resnet12 import ResNet12
from metabench.config.bounds import NonNegative, Positive
from metabench.config.search import Choice, Log
from metabench.episodes import Episodes, one_hot, task_loss
from metabench.methods.base import FeatureMethod, Queries, Settings, Task, Tasks, TrainingWays
from metabench.methods.parts import cholesky


class ReconstructionSettings(Settings):
    """Training episodes as for prototypical networks.

    Attributes:
        scale: where γ starts.
        auxiliary: w, weight of the auxiliary loss; 0 for none.
    """

    ways: TrainingWays = 20
    tasks: Tasks = 1
    queries: Queries = 5
    scale: Annotated[Positive, Log(0.1, 10)] = 1.0
    auxiliary: Annotated[NonNegative, Choice(0.0, 0.03, 1.0)] = 0.03


class Reconstruction(FeatureMethod):
    """Features are maps ``[T, N, C, P]``."""

    paper = "Wertheimer et al. 2021"
    Settings = ReconstructionSettings

    def __init__(self, backbone: Backbone, task: Task, settings: ReconstructionSettings):
        super().__init__(backbone, task, settings)
        self.alpha, self.beta = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.gamma = nn.Parameter(torch.tensor(settings.scale))

    def embed(self, x: Tensor) -> Tensor:
        """Local features ``[T, N, C, P]``."""
        maps = self.backbone.maps(x)
        return maps / maps.shape[2] ** 0.5 if isinstance(self.backbone, ResNet12) else maps

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: minus scaled errors of reconstruction."""
        assert features.ways is not None
        s, x = features.support_x, features.query_x
        channels, positions = s.shape[2:]
        member = one_hot(features.support_y, features.ways, s)  # [T, S, K]
        gram = grams(s, member)
        penalty = (member.sum(1).clamp_min(1) * positions / channels) * self.alpha.exp()  # [T, K]
        eye = torch.eye(channels, dtype=s.dtype, device=s.device)
        project = cholesky.solve(gram + penalty[..., None, None] * eye, gram)  # [T, K, C, C]
        rebuilt = self.beta.exp() * torch.einsum("tqcp,tkcd->tqkdp", x, project)
        error = (x[:, :, None] - rebuilt).square().sum((-1, -2)) / positions
        return -self.gamma * error

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Cross-entropy of the queries, and the auxiliary loss of the supports."""
        assert batch.ways is not None
        f = batch.map(self.embed)
        gram = grams(f.support_x, one_hot(f.support_y, batch.ways, f.support_x))
        overlap = self.settings.auxiliary * overlaps(gram)
        return (task_loss(self.classify(f), batch.query_y) + overlap).mean()


def grams(maps: Tensor, member: Tensor) -> Tensor:
    """``S_kᵀ S_k`` ``[T, K, C, C]`` of each class of ``[T, S, C, P]``, one-hot ``[T, S, K]``."""
    return torch.einsum("tsk,tscp,tsdp->tkcd", member, maps, maps)


def overlaps(gram: Tensor) -> Tensor:
    """``Σ_{i<j} ‖Ŝ_i Ŝ_jᵀ‖²`` of each task: ``[T, K, C, C]`` to ``[T]``.

    ``‖S_i S_jᵀ‖²`` is the inner product of ``S_iᵀ S_i`` and ``S_jᵀ S_j``, so no pair is formed.
    """
    norm = gram.diagonal(dim1=-2, dim2=-1).sum((1, 2)).clamp_min(torch.finfo(gram.dtype).tiny)
    g = gram / norm[:, None, None, None]
    return (g.sum(1).square().sum((1, 2)) - g.square().sum((1, 2, 3))) / 2
