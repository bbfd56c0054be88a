"""Conditional neural processes: represent the support, then decode each query by itself."""

from __future__ import annotations

import abc
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Width
from metabench.episodes import Episodes, one_hot, restore_names
from metabench.methods.base import FeatureMethod, Queries, Settings, Task, Tasks
from metabench.methods.parts.slots import to_slots


class NeuralProcessSettings(Settings):
    """``width``: of the representation and of all hidden layers.

    Many small steps (one task, few queries) learn to use labels soonest.
    """

    tasks: Tasks = 1
    queries: Queries = 5
    width: Width = 128


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class NeuralProcess(FeatureMethod):
    """``y* ~ p(y | g(f(x*), r))`` with a representation ``r`` of the labelled support.

    Classification has one label slot per class; regression has a Gaussian whose mean is the answer
    (Garnelo et al. 2018, eq. 2-4). A subclass says what ``r`` is.
    """

    family = "model"
    kinds = frozenset({"image", "text", "vector", "regression"})
    variable_ways = False
    order_sensitive = True
    Settings = NeuralProcessSettings

    def __init__(self, backbone: Backbone, task: Task, settings: NeuralProcessSettings):
        super().__init__(backbone, task, settings)
        self.label_dim = task.outputs or task.ways
        self.norm = nn.LayerNorm(backbone.feature_dim)

    def decoder(self, representation: int) -> nn.Sequential:
        """g: features and representation to slot logits, or to mean and raw deviation."""
        width = self.settings.width
        outputs = 2 * self.task.outputs or self.task.ways
        return perceptron(self.backbone.feature_dim + representation, width, width, outputs)

    @abc.abstractmethod
    def outputs(self, support_x: Tensor, labels: Tensor, query_x: Tensor) -> Tensor:
        """g at queries: ``[T, S, D]``, ``[T, S, label_dim]``, ``[T, Q, D]`` to ``[T, Q, ·]``."""

    def embed(self, x: Tensor) -> Tensor:
        """Layer-normalised features ``[T, N, D]``."""
        return self.norm(self.backbone(x))

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``; regression: the means ``[T, Q, D]``."""
        if features.ways is None:
            return self.gaussian(features)[0]
        episodes, slot = to_slots(features, self.task.ways)
        labels = one_hot(episodes.support_y, self.task.ways, episodes.support_x)
        logits = self.outputs(episodes.support_x, labels, episodes.query_x)
        return restore_names(logits[..., : slot.shape[1]], slot)

    def gaussian(self, features: Episodes) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``[T, Q, D]``; the deviation is at least 0.1."""
        outputs = self.outputs(features.support_x, features.support_y, features.query_x)
        mean, raw = outputs.chunk(2, dim=-1)
        return mean, 0.1 + 0.9 * F.softplus(raw)

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Cross-entropy of the queries; regression: their negative log-likelihood."""
        if batch.ways is not None:
            return super().loss(batch, progress)
        mean, deviation = self.gaussian(batch.map(self.embed))
        return -torch.distributions.Normal(mean, deviation).log_prob(batch.query_y).mean()
