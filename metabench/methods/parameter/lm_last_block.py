"""Tuning the encoder's last block alone (Lee et al. 2019, "What would Elsa do?").

θ_last ← AdamW(θ_last, ∇ Σ_{(x,y) ∈ support} CE(W f_θ(x) + b, y))
"""

from __future__ import annotations

from torch import Tensor

from metabench.methods.parts.language_tuning import LanguageTuning


class LMLastBlock(LanguageTuning):
    """No gradient passes the blocks below."""

    paper = "Lee et al. 2019"

    def chosen(self, name: str, weight: Tensor) -> bool:
        """Whether the weight is of the last block."""
        return name.startswith(self.backbone.block_prefixes[-1])
