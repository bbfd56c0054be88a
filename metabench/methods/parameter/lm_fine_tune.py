"""Full fine-tuning of a text encoder on the support S (Devlin et al., NAACL 2019, 4.1).

    θ, W, b ← AdamW((θ, W, b), ∇ Σ_{(x,y) ∈ S} CE(W f_θ(x) + b, y))

with warm-up and linear decay of the learning rates, as Mosbach et al. (2021) recommend for small
data. ``f_θ(x)`` is the encoder's text vector at unit length, θ starts where language modelling left
it, and W at ten times the directions of the class means.

Differs from the paper: f is the mean of the word pieces' vectors at unit length, not [CLS] through
a tanh layer, because sentence encoders are trained so. W starts at ten times the directions of the
class means and not at random, so that few steps suffice. Word, position and segment embeddings
stay: they are half of a small encoder's weights, and a support has few words. ``steps`` batches of
up to ``chunk`` texts in place of three epochs, as an epoch of a support is one or two batches. No
dropout and no clipping of gradients; weight decay takes all weights, biases and normalisation
included.
"""

from __future__ import annotations

from torch import Tensor

from metabench.methods.parts.language_tuning import LanguageTuning


class LMFineTune(LanguageTuning):
    """Every weight of the encoder's blocks is tuned (word embeddings stay)."""

    paper = "Devlin et al. 2019"

    def initial(self) -> dict[str, Tensor]:
        """θ: all weights of the encoder's blocks."""
        return self.encoder()
