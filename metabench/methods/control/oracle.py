"""Oracle for regression: knows the family's formula and fits its constants to the support.

Both families of this package are linear in what is left once the frequency ω is known,

    y = Σ_h (u_h sin(hωx) + v_h cos(hωx)),      h = 1 … harmonics,

so the constants come from least squares, and ω from a search over the range it is drawn from: the ω
with the smallest residual on the support. No learner can be expected to do better.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.config.bounds import Depth, Many, Positive
from metabench.episodes import Episodes
from metabench.methods.base import Method, Settings
from metabench.methods.parts import cholesky


class OracleSettings(Settings):
    """What the oracle knows.

    Attributes:
        harmonics: number of sinusoids in the sum.
        low, high: range of ω; equal where it is known.
        candidates: values of ω that are tried.
        ridge: stabiliser of the least squares when there are fewer points than constants.
    """

    harmonics: Depth = 1
    low: Positive = 1.0
    high: Positive = 1.0
    candidates: Many = 1500
    ridge: Positive = 1e-6


class Oracle(Method):
    """Least squares in the true formula; the floor of the regression tables."""

    family = "control"
    paper = "–"
    source_training = "none"
    kinds = frozenset({"regression"})
    Settings = OracleSettings

    def _design(self, x: Tensor, frequency: Tensor) -> Tensor:
        """``[T, N, 1]`` and ``[W]`` to ``[T, W, N, 2·harmonics]``."""
        h = torch.arange(1, self.settings.harmonics + 1, dtype=x.dtype, device=x.device)
        angle = x[:, None] * frequency[:, None, None] * h  # [T, W, N, H]
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def predict(self, episodes: Episodes) -> Tensor:
        """Values ``[T, Q, 1]``."""
        s = self.settings
        x, y = episodes.support_x.double(), episodes.support_y.double()
        count = s.candidates if s.high > s.low else 1
        frequency = torch.linspace(s.low, s.high, count, dtype=x.dtype, device=x.device)
        a = self._design(x, frequency)  # [T, W, S, C]
        eye = torch.eye(a.shape[-1], dtype=x.dtype, device=x.device)
        constants = cholesky.solve(a.mT @ a + s.ridge * eye, a.mT @ y[:, None])  # [T, W, C, 1]
        residual = (a @ constants - y[:, None]).square().sum((-1, -2))  # [T, W]
        best = residual.argmin(1)
        rows = torch.arange(len(x), device=x.device)
        chosen = constants[rows, best]  # [T, C, 1]
        h = torch.arange(1, s.harmonics + 1, dtype=x.dtype, device=x.device)
        angle = episodes.query_x.double() * frequency[best][:, None, None] * h
        return (torch.cat([angle.sin(), angle.cos()], dim=-1) @ chosen).to(episodes.query_x.dtype)
