"""From scratch: the support set is all that the network ever sees.

As fine-tuning, but from random weights (the same for every task). There is no source to have
moments of, so normalisation uses those of the task's own support.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from metabench.config.bounds import NonNegative
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights


class ScratchSettings(FineTuneSettings):
    """Random weights have farther to go; ``moments`` are the support's, there are no others."""

    finetune_lr: Annotated[NonNegative, Log(1e-3, 0.2), ADAPTS] = 0.05
    head_lr: Annotated[NonNegative, Log(5e-3, 0.5), ADAPTS] = 0.05
    moments: Literal["support"] = "support"


class Scratch(FineTuneMethod):
    """The control that says what the source was worth."""

    family = "control"
    paper = "–"
    Settings = ScratchSettings

    def adapted(self) -> dict[str, Tensor]:
        """All weights of the backbone."""
        return dict(self.backbone.named_parameters())

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S``."""
        return self.support_loss(episodes, weights)
