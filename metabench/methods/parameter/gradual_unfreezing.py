"""Gradual unfreezing and discriminative learning rates (ULMFiT: Howard & Ruder 2018, 3.2–3.3).

The head adapts first; every ``every`` steps one more block joins, from the last to the first, and a
block that is ``l`` places before the last has the learning rate

    α_l = α · decay^{-l}        (paper: η^{l−1} = η^l / 2.6)

Differs from the paper: two of ULMFiT's parts are left out, the language model that is first tuned
on the target's unlabelled text and the slanted triangular learning rate, since this method serves
images and vectors, too. A block joins after ``every`` steps and not after an epoch, as the support
is one batch. Gradient descent with momentum in place of Adam, without dropout, as in ``fine_tune``.
The head is linear and starts at the class means; the paper's has two random layers on concatenated
poolings.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from metabench.config.bounds import Count, Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights


class GradualSettings(FineTuneSettings):
    """``decay``: of the learning rates by block; ``every``: steps between unfreezings."""

    decay: Positive = Field(2.6, ge=1)
    every: Annotated[Count, Log(1, 10), ADAPTS] = 3


class GradualUnfreezing(FineTuneMethod):
    """Late blocks move early and far, early blocks late and little."""

    family = "parameter"
    paper = "Howard & Ruder 2018"
    start = "pretrained"
    Settings = GradualSettings

    def adapted(self) -> dict[str, Tensor]:
        """All weights of the backbone, each in its time (:meth:`learning_rate`)."""
        return dict(self.backbone.named_parameters())

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S``."""
        return self.support_loss(episodes, weights)

    def learning_rate(self, name: str, step: int) -> float:
        """Zero until the parameter's block has joined."""
        if name.startswith("head."):
            return float(self.settings.head_lr)
        blocks = self.backbone.block_prefixes
        found = [i for i, prefix in enumerate(blocks) if name.startswith(prefix)]
        depth = len(blocks) - 1 - (found[0] if found else 0)  # 0 for the last block
        if step < (depth + 1) * self.settings.every:
            return 0.0
        return float(self.settings.finetune_lr * self.settings.decay**-depth)
