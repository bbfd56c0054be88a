"""Last-block fine-tuning: the head and the backbone's last block adapt, the rest stays.

Early layers transfer, late ones are specific to the source (Yosinski et al. 2014):

    θ_last ← θ_last − α ∇_{θ_last} L_S(θ)        L_S(θ) = (1/|S|) Σ_{(x,y) ∈ S} CE(f_θ(x), y)

Differs from the paper: the last block goes on from its pretrained weights; the paper draws all
layers above the cut anew, as it asks how far features transfer and not what serves a few labels.
The head starts at the class means and not at random, and a task takes ``steps`` steps of gradient
descent on its whole support in place of 450,000 on half of ImageNet, for the same reason.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod
from metabench.methods.parts.inner_loop import Weights


class LastBlock(FineTuneMethod):
    """Fewer weights to overfit, and no gradient through the early blocks."""

    family = "parameter"
    paper = "Yosinski et al. 2014"
    start = "pretrained"

    def adapted(self) -> dict[str, Tensor]:
        """The parameters of the last block."""
        last = self.backbone.block_prefixes[-1]
        return {n: p for n, p in self.backbone.named_parameters() if n.startswith(last)}

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S``."""
        return self.support_loss(episodes, weights)
