"""MetaOptNet-SVM (Lee et al., CVPR 2019).

The head of each task is a linear multi-class SVM (Crammer & Singer 2001) on the embedded support,
found in the dual (eq. 9), and gradients go through its solution into the embedding:

    max_α  −½ Σ_k ‖w_k(α)‖² + Σ_n α_n^{y_n}        w_k(α) = Σ_n α_n^k f(x_n)
    s. t.  α_n^{y_n} ≤ C,  α_n^k ≤ 0 for k ≠ y_n,  Σ_k α_n^k = 0

Logits are ``γ w_k · f(x)`` with a learned scale γ.

Differs from the paper: which differentiates a QP solver through the KKT conditions. Here a fixed
number of accelerated projected-gradient steps (Beck & Teboulle 2009) solves all tasks at once, and
is differentiated as it stands. The authors' code adds the identity to the kernel to help its
solver; none is added here. γ starts at 10 (code: 1). Label smoothing, 15 shots in training and
ResNet-12 with DropBlock belong to the paper's recipe, and are the profile's to choose.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Positive
from metabench.config.search import Log
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod, Settings, Task


class MetaOptNetSettings(Settings):
    """The SVM.

    Attributes:
        C: upper bound of the dual variables (paper: 0.1).
        iterations: steps of the solver.
        scale: where γ starts.
    """

    C: Annotated[Positive, Log(0.1, 100)] = 0.1
    iterations: Count = 50
    scale: Annotated[Positive, Log(1, 50)] = 10.0


def project_simplex(z: Tensor, total: float) -> Tensor:
    """Nearest ``b ≥ 0`` with ``Σ_k b_k = total``, along the last axis (Duchi et al. 2008)."""
    ordered = z.sort(dim=-1, descending=True).values
    count = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    shift = (ordered.cumsum(-1) - total) / count
    last = (ordered > shift).sum(-1, keepdim=True) - 1  # of the positive entries
    return (z - shift.gather(-1, last)).clamp_min(0)


def solve_svm(kernel: Tensor, labels: Tensor, C: float, iterations: int) -> Tensor:
    """Dual solution α ``[T, S, K]`` for a kernel ``[T, S, S]`` and one-hot labels ``[T, S, K]``.

    With ``b = C·labels − α`` the constraints of each example are a simplex: ``b ≥ 0, Σ_k b_k = C``.
    """
    bound = C * labels
    # no system is solved: the largest eigenvalue bounds the curvature
    step = 1 / torch.linalg.eigvalsh(kernel.detach())[:, -1].clamp_min(1e-6)[:, None, None]
    alpha = ahead = torch.zeros_like(labels)
    momentum = 1.0
    for _ in range(iterations):
        ascended = ahead + step * (labels - kernel @ ahead)
        new = bound - project_simplex(bound - ascended, C)
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - alpha)
        alpha, momentum = new, next_momentum
    return alpha


class MetaOptNet(FeatureMethod):
    """Support-vector head on a learned embedding."""

    family = "optimisation"
    paper = "Lee et al. 2019"
    Settings = MetaOptNetSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MetaOptNetSettings):
        super().__init__(backbone, task, settings)
        self.scale = nn.Parameter(torch.tensor(settings.scale))

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: ``γ Σ_n α_n^k f(x_n)·f(x)``."""
        assert features.ways is not None
        x, s = features.support_x, self.settings
        labels = one_hot(features.support_y, features.ways, x)
        alpha = solve_svm(x @ x.mT, labels, s.C, s.iterations)
        return self.scale * (features.query_x @ (x.mT @ alpha))
