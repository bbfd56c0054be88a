"""A hyper-parameter ensemble of fine-tuning (Luo et al., "FewTrans", arXiv 2603.00478, 2026).

Which rate and how many steps suit a target is not known without labels to try them on, and a
few-shot task has none to spare. So none is chosen: fine-tuning runs over a grid of them, and the
predictions of its members are averaged,

    p(y | x) = 1/(R·M) Σ_r Σ_m softmax(f_{θ(α_r, n_m)}(x))_y

where θ(α, n) are the weights of ``fine_tune`` after n steps at rate α. The rates are spaced by a
factor ϱ around α, α_r = α ϱ^{r − (R+1)/2}, for backbone and head alike. The numbers of steps are
n_m = n m/M, so the members of one rate are checkpoints of one run.

Differs from the paper: probabilities are averaged; the authors' code takes the class that most
members name, which gives no probabilities. The rates of backbone and head change together, at a
third of the cost (code: three of each, crossed). The middle of the grid and its last step are
settings, searched on the source as those of other methods are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.bounds import Count, Positive, Whole
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights


class EnsembleSettings(FineTuneSettings):
    """The grid around ``finetune_lr`` and ``head_lr``, and up to ``steps``.

    Attributes:
        rates: R, the number of rates; each costs a run.
        spread: ϱ, the ratio of neighbouring rates.
        checkpoints: M, the members of a run.
    """

    steps: Annotated[Whole, Log(3, 300), ADAPTS] = 30
    rates: Count = 3
    spread: Annotated[Positive, Field(ge=1)] = 3.0
    checkpoints: Count = 3


class Ensemble(FineTuneMethod):
    """Averages over rates and steps in place of a choice."""

    family = "parameter"
    paper = "Luo et al. 2026"
    start = "pretrained"
    kinds = frozenset({"image", "text", "vector"})
    Settings = EnsembleSettings

    def adapted(self) -> dict[str, Tensor]:
        """All weights of the backbone."""
        return dict(self.backbone.named_parameters())

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S``."""
        return self.support_loss(episodes, weights)

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Log-probabilities of the ensembles whose runs end after the given numbers of steps."""
        given, parts = self.settings, range(1, self.settings.checkpoints + 1)
        ends = {count: [round(count * part / len(parts)) for part in parts] for count in steps}
        shared = sorted({step for path in ends.values() for step in path})
        members: dict[int, list[Tensor]] = {step: [] for step in shared}
        try:
            for rate in range(given.rates):
                factor = given.spread ** (rate - (given.rates - 1) / 2)
                rates = {name: factor * getattr(given, name) for name in ("finetune_lr", "head_lr")}
                self.settings = given.model_copy(update=rates)
                for step, logits in zip(
                    shared, super().predict_after(episodes, shared), strict=True
                ):
                    members[step].append(logits.log_softmax(-1))
        finally:
            self.settings = given
        return [mean_of([m for step in ends[count] for m in members[step]]) for count in steps]


def mean_of(members: Sequence[Tensor]) -> Tensor:
    """Log of the mean of probabilities whose logs are given, each ``[T, Q, ways]``."""
    return torch.stack(list(members)).logsumexp(0) - math.log(len(members))
