"""LP-FT: linear probing, then fine-tuning (Kumar et al., ICLR 2022).

A head that fits badly distorts pretrained features: the first steps move them to suit it. So the
head is fitted to the frozen features first, to convergence, and then all weights adapt:

    W, b ← argmin (s²/2)‖W‖² + C Σ_{(x,y) ∈ S} CE(W f_θ(x) + b, y)
    (θ, W, b) ← (θ, W, b) − α ∇ (1/|S|) Σ_{(x,y) ∈ S} CE(W f_θ(x) + b, y)

where s, the mean length of the support's features, makes one C serve all backbones. But for the
start of the head this is ``fine_tune``.

Differs from the paper: the penalty has the factor s². ``steps`` steps of gradient descent with
momentum on the whole support at constant rates, in place of epochs of batches down a cosine; the
head may have another rate than the backbone. C and the rates are chosen on the source (paper: on
held-out labels of its training domain).
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights
from metabench.methods.parts.logistic import logistic_head


class LPFTSettings(FineTuneSettings):
    """``c``: C, as in scikit-learn."""

    c: Annotated[Positive, Log(0.1, 100), ADAPTS] = 10.0


class LPFT(FineTuneMethod):
    """All weights adapt, from a head that has converged."""

    family = "parameter"
    paper = "Kumar et al. 2022"
    start = "pretrained"
    kinds = frozenset({"image", "text", "vector"})
    Settings = LPFTSettings

    def adapted(self) -> dict[str, Tensor]:
        """θ: all weights of the backbone."""
        return dict(self.backbone.named_parameters())

    def head_start(self, episodes: Episodes) -> Weights:
        """The linear probe: W ``[T, K, D]`` and b ``[T, K]``."""
        assert episodes.ways is not None
        f = self.backbone(episodes.support_x, support=self.moments(episodes))
        size = f.norm(dim=-1).mean(1)[:, None, None]
        weight, bias = logistic_head(f / size, episodes.support_y, episodes.ways, self.settings.c)
        return {"head.weight": weight / size, "head.bias": bias}

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S``."""
        return self.support_loss(episodes, weights)
