"""BitFit (Ben Zaken et al., ACL 2022): of a language model, the biases alone are tuned.

    b ← AdamW(b, ∇_b Σ_{(x,y) ∈ support} CE(W f(x; b) + c, y))

As ``norm_bias``, but with the optimiser and schedule of language models, and without the scales of
normalisation layers.

Differs from the paper: the bias of the embeddings' normalisation stays, with the embeddings. As in
``lm_fine_tune``, and for the reasons given there, the head starts at the class means and stands on
the mean of the word pieces' vectors at unit length (paper: on [CLS], at random), a task takes
``steps`` batches in place of 16 epochs, there is no dropout, and biases decay like other weights.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import ADAPTS, Log
from metabench.methods.parts.language_tuning import LanguageTuning, LanguageTuningSettings


class BitFitSettings(LanguageTuningSettings):
    """So few weights take a larger step."""

    finetune_lr: Annotated[Positive, Log(1e-5, 3e-3), ADAPTS] = 1e-3


class BitFit(LanguageTuning):
    """A thousandth of the weights."""

    paper = "Ben Zaken et al. 2022"
    Settings = BitFitSettings

    def initial(self) -> dict[str, Tensor]:
        """The biases of the encoder's blocks."""
        return {n: w for n, w in self.encoder().items() if n.endswith(".bias")}
