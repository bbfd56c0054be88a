"""Normalisation and bias only: scales and shifts adapt, every other weight stays.

Known as BitFit for language models (Ben Zaken et al. 2022) and as tuning batch-norm for images
(Mudrakarta et al. 2019): with γ, β and b the vectors of the network,

    (γ, β, b) ← (γ, β, b) − α ∇ (1/|S|) Σ_{(x,y) ∈ S} CE(f(x; γ, β, b), y)

Differs from the paper: Ben Zaken et al. tune the biases of a Transformer alone, by AdamW with a
falling learning rate (:mod:`~metabench.methods.parameter.bitfit` does); here scales adapt too,
since a convolution before a normalisation has no bias, and by gradient descent with momentum, so
that it differs from ``fine_tune`` in nothing but which weights move. The head starts at the class
means and not at random.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import NonNegative
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights


class NormBiasSettings(FineTuneSettings):
    """So few weights take a larger step."""

    finetune_lr: Annotated[NonNegative, Log(1e-3, 0.2), ADAPTS] = 0.05


class NormBias(FineTuneMethod):
    """Under one per cent of the weights adapt, beside the head."""

    family = "parameter"
    paper = "Ben Zaken et al. 2022"
    start = "pretrained"
    Settings = NormBiasSettings

    def adapted(self) -> dict[str, Tensor]:
        """The backbone's vectors: biases, and the scales of normalisation layers."""
        return {n: p for n, p in self.backbone.named_parameters() if p.dim() == 1}

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S``."""
        return self.support_loss(episodes, weights)
