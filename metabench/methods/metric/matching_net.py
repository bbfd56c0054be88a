"""Matching Networks (Vinyals et al., NeurIPS 2016), without full context embeddings.

The answer is a blend of the support's labels, weighted by attention (eq. 1 and section 2.1.1):

    p(y | x) = Σ_i a(x, x_i) y_i        a(x, x_i) = softmax_i(s · cos(f(x), f(x_i)))

Differs from the paper: full context embeddings (the LSTMs of 2.1.2) are left out, as their answer
depends on the order of the support. The paper has s = 1, for which the attention over a few cosines
in [−1, 1] can never be sharp; here it is learned. One f embeds support and queries (paper: f and g,
which may be one).
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive
from metabench.config.search import Log
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod, Queries, Settings, Task, Tasks, TrainingWays
from metabench.methods.parts.distances import cosine


class MatchingNetSettings(Settings):
    """``scale``: where s starts."""

    ways: TrainingWays = 20
    tasks: Tasks = 1
    queries: Queries = 5
    scale: Annotated[Positive, Log(1, 50)] = 10.0


class MatchingNet(FeatureMethod):
    """Attention over the support in a learned space."""

    family = "metric"
    paper = "Vinyals et al. 2016"
    Settings = MatchingNetSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MatchingNetSettings):
        super().__init__(backbone, task, settings)
        self.scale = nn.Parameter(torch.tensor(settings.scale))

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: log-probabilities."""
        assert features.ways is not None
        attention = (self.scale * cosine(features.query_x, features.support_x)).softmax(-1)
        labels = one_hot(features.support_y, features.ways, attention)
        return (attention @ labels).clamp_min(1e-12).log()
