"""Fine-tuning: every weight of the pretrained network adapts to the support set.

From the weights θ₀ that supervised pretraining on the source left, ``steps`` steps of

    θ ← θ − α ∇_θ Σ_{(x,y) ∈ support} CE(f_θ(x), y)

with normalisation by the running moments of pretraining.
"""

from __future__ import annotations

from metabench.methods.parts.fine_tuning import FineTuneMethod


class FineTune(FineTuneMethod):
    """Backbone and head adapt, from the shared pretrained backbone."""

    family = "parameter"
    paper = "Chen et al. 2019"
    start = "pretrained"
