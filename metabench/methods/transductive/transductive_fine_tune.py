"""Transductive fine-tuning (Dhillon et al., ICLR 2020): confident on the queries, too.

The head reads features of unit length and starts at the directions of the class means (3.1). From
there all weights adapt, and the entropy of the predictions on the queries joins the loss (eq. 8):

    θ* = argmin_θ  CE(support; θ) + (γ/|Q|) Σ_{x ∈ query} H(p_θ(· | x))

Nothing in it keeps the queries spread over the classes, as ``tim`` does, so on a backbone that
separates the new classes badly it runs into few of them and ends below its own step 0. The paper's
steps are so short that little of this happens; the defaults here are, too. The search may take
longer ones, and also none: then the accuracy on ``val`` is that of step 0.

Differs from the paper: one step of gradient descent with momentum on the sum, where the authors'
code makes two of Adam in turn, so that the search is that of other fine-tuning; γ, 1 in the paper,
is searched; the features are those before the source's classifier, not its outputs, since a target
need not be like the source's classes; normalisation has the moments of the source or the support,
not of the queries in the batch.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.config.bounds import NonNegative, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, class_means
from metabench.methods.parts.fine_tuning import FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights, apply_head


class TransductiveFineTuneSettings(FineTuneSettings):
    """``entropy``: γ (paper: 1); ``steps``: after 0, a nearest class mean by cosine."""

    finetune_lr: Annotated[NonNegative, Log(1e-4, 0.05), ADAPTS] = 0.001
    head_lr: Annotated[NonNegative, Log(1e-3, 0.2), ADAPTS] = 0.005
    steps: Annotated[Whole, Choice(0, 2, 5, 10, 25, 50), ADAPTS] = 5
    entropy: Annotated[NonNegative, Log(0.03, 1), ADAPTS] = 1.0


class TransductiveFineTune(FineTuneMethod):
    """Fine-tuning that reads the queries' inputs."""

    family = "transductive"
    paper = "Dhillon et al. 2020"
    start = "pretrained"
    transductive = True
    kinds = frozenset({"image", "text", "vector"})
    Settings = TransductiveFineTuneSettings

    def adapted(self) -> dict[str, Tensor]:
        """All weights of the backbone."""
        return dict(self.backbone.named_parameters())

    def head_start(self, episodes: Episodes) -> Weights:
        """Unit vectors ``[T, K, D]`` in the direction of the class means, and no bias."""
        assert episodes.ways is not None
        features = self.backbone(episodes.support_x, support=self.moments(episodes))
        weight = F.normalize(class_means(features, episodes.support_y, episodes.ways), dim=-1)
        return {"head.weight": weight, "head.bias": torch.zeros_like(weight[..., 0])}

    def read_out(self, features: Tensor, weights: Weights) -> Tensor:
        """The head on features of unit length."""
        return apply_head(F.normalize(features, dim=-1), weights)

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """Loss of the support plus γ times the mean entropy of the queries, summed over tasks."""
        log_p = self.outputs(episodes, episodes.query_x, weights).log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1).mean(1).sum()
        return self.support_loss(episodes, weights) + self.settings.entropy * entropy
