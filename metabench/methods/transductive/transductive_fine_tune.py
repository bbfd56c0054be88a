"""Transductive fine-tuning (Dhillon et al., ICLR 2020): confident on the queries, too.

All weights adapt, and the entropy of the predictions on the queries joins the loss (eq. 8):

    θ* = argmin_θ  CE(support; θ) + (1/|Q|) Σ_{x ∈ query} H(p_θ(· | x))
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod
from metabench.methods.parts.inner_loop import Weights


class TransductiveFineTune(FineTuneMethod):
    """Fine-tuning that reads the queries' inputs."""

    family = "transductive"
    paper = "Dhillon et al. 2020"
    start = "pretrained"
    transductive = True
    kinds = frozenset({"image", "text", "vector"})

    def adapted(self) -> dict[str, Tensor]:
        """All weights of the backbone."""
        return dict(self.backbone.named_parameters())

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """Loss of the support plus mean entropy of the queries, summed over tasks."""
        log_p = self.outputs(episodes, episodes.query_x, weights).log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1).mean(1).sum()
        return self.support_loss(episodes, weights) + entropy
