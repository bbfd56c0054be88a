"""Tuning the encoder's last block alone (Lee et al. 2019, "What would Elsa do?").

θ_last ← AdamW(θ_last, ∇ Σ_{(x,y) ∈ support} CE(W f_θ(x) + b, y))

Differs from the paper: one block is tuned, where the paper compares halves and quarters of deeper
encoders. As in ``lm_fine_tune``, and for the reasons given there, the head starts at the class
means and stands on the mean of the word pieces' vectors at unit length, a task takes ``steps``
batches in place of epochs, and there is no dropout.
"""

from __future__ import annotations

from torch import Tensor

from metabench.methods.parts.language_tuning import LanguageTuning


class LMLastBlock(LanguageTuning):
    """No gradient passes the blocks below."""

    paper = "Lee et al. 2019"

    def initial(self) -> dict[str, Tensor]:
        """The weights of the encoder's last block."""
        last = self.backbone.block_prefixes[-1]
        return {n: w for n, w in self.encoder().items() if n.startswith(last)}
