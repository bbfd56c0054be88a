"""Full fine-tuning of a text encoder on the support (Devlin et al. 2019).

θ ← AdamW(θ, ∇_θ Σ_{(x,y) ∈ support} CE(W f_θ(x) + b, y))     W starts at the class means
"""

from __future__ import annotations

from metabench.methods.parts.language_tuning import LanguageTuning


class LMFineTune(LanguageTuning):
    """Every weight of the encoder's blocks is tuned (word embeddings stay)."""

    paper = "Devlin et al. 2019"
