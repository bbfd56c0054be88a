"""L2-SP: fine-tuning that is pulled back to where it started (Li, Grandvalet & Davoine, ICML 2018).

The penalty is on the distance from the pretrained weights θ⁰, not from zero (eq. 3):

    min_θ  CE(support; θ) + (α/2) ‖θ − θ⁰‖² + (β/2) ‖head‖²

Differs from the paper: ``steps`` steps of gradient descent with momentum on the whole support at a
constant rate, in place of 9,000 batches at a falling one, since a task has a handful of labels. The
head starts at the class means and not at random, for the same reason, and batch norms use the
moments of the source or of the support (``moments``), not of each batch. α and β are settings of
the source, where the paper chooses them for each target by cross-validation on labels that a task
here does not have.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import NonNegative
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights


class L2SPSettings(FineTuneSettings):
    """``alpha``: weight of the distance to the start; ``beta``: of the head's size."""

    alpha: Annotated[NonNegative, Log(1e-3, 10), ADAPTS] = 0.1
    beta: Annotated[NonNegative, Log(1e-4, 1), ADAPTS] = 0.01


class L2SP(FineTuneMethod):
    """All weights adapt, on a leash."""

    family = "parameter"
    paper = "Li et al. 2018"
    start = "pretrained"
    Settings = L2SPSettings

    def adapted(self) -> dict[str, Tensor]:
        """All weights of the backbone."""
        return dict(self.backbone.named_parameters())

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """Loss of the support, and both penalties."""
        s, total = self.settings, self.support_loss(episodes, weights)
        for name, start in self.backbone.named_parameters():
            total = total + s.alpha / 2 * (weights[name] - start.detach()).square().sum()
        head = weights["head.weight"].square().sum() + weights["head.bias"].square().sum()
        return total + s.beta / 2 * head
