"""What methods with an inner loop share: weights of each task, their gradients, the loop itself.

Weights are a dictionary of tensors with a leading task axis, so that one gradient of the *sum* of
the task losses is the gradient of every task by itself (tasks share no adapted tensor).
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Positive, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Method, Task
from metabench.methods.parts.augmented import AugmentedSupport, augmented_support

Weights = dict[str, Tensor]
"""``[T, *shape]`` by name: weights of each task, or their gradients."""


def per_task(parameters: Mapping[str, Tensor], tasks: int) -> Weights:
    """One copy of each parameter per task, ``[T, *shape]``, still connected to the original."""
    return {name: p.expand(tasks, *p.shape) for name, p in parameters.items()}


def gradients_of(losses: Tensor, weights: Weights, second_order: bool = False) -> Weights:
    """Gradient of every task's loss by its weights.

    Args:
        losses: ``[T]``.
        weights: must require gradients.
        second_order: keep the graph, so that the gradients can themselves be differentiated.
    """
    found = torch.autograd.grad(losses.sum(), list(weights.values()), create_graph=second_order)
    return dict(zip(weights, found, strict=True))


class Head(nn.Module):
    """Linear output layer for adaptation by gradient.

    Classification starts every class from one shared, learned row, so that the untrained head
    prefers no class, renaming classes renames the logits, and any number of ways will do (Ye & Chao
    2022, "How to train your MAML to excel", UNICORN-MAML). Regression has an ordinary layer.
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        bound = features**-0.5
        self.weight = nn.Parameter(torch.empty(max(outputs, 1), features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(max(outputs, 1)))

    def start(self, ways: int | None) -> dict[str, Tensor]:
        """Initial ``head.weight`` ``[K, D]`` and ``head.bias`` ``[K]`` for one task."""
        if ways is None:
            return {"head.weight": self.weight, "head.bias": self.bias}
        return {
            "head.weight": self.weight.expand(ways, -1),
            "head.bias": self.bias.expand(ways),
        }


def apply_head(features: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """``[T, N, D]`` features through per-task ``head.weight`` ``[T, K, D]`` and bias."""
    bias = weights["head.bias"].unsqueeze(1)
    return features @ weights["head.weight"].transpose(1, 2) + bias


class InnerLoopSettings(AugmentedSupport):
    """Settings of the inner loop.

    Attributes:
        inner_lr: α.
        steps: inner steps in training.
        test_steps: inner steps in prediction (Finn et al. use more than in training).
    """

    inner_lr: Annotated[Positive, Log(5e-3, 0.5)] = 0.1
    steps: Annotated[Count, Choice(1, 2, 3, 5, 8)] = 5
    test_steps: Annotated[Whole, Log(1, 100), ADAPTS] = 10


class GradientMethod(Method):
    """A method that adapts weights to the support by gradient steps, then predicts the queries.

    A subclass says from where (:meth:`initial`), how a step goes (:meth:`inner_step`), and how all
    this is learned (``loss``). Batch normalisation uses the moments of the task's own support for
    support and queries alike.
    """

    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = InnerLoopSettings

    def __init__(self, backbone: Backbone, task: Task, settings: InnerLoopSettings):
        super().__init__(backbone, task, settings)
        self.head = Head(backbone.feature_dim, task.outputs)

    def initial(self, episodes: Episodes) -> Weights:
        """θ, one copy per task: by default all parameters of backbone and head."""
        parameters = dict(self.backbone.named_parameters()) | self.head.start(episodes.ways)
        return per_task(parameters, len(episodes))

    @abc.abstractmethod
    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """Weights after inner step ``step`` = 0, 1, …, of all tasks, from those before it.

        Args:
            weights: θ_i of every task i.
            gradients: ``∇ L_{T_i}(f_{θ_i})`` on its support.
        """

    def forward(self, x: Tensor, weights: Weights, support: int) -> Tensor:
        """``[T, N, ...] -> [T, N, K]``; the first ``support`` examples give the moments."""
        return apply_head(self.backbone(x, weights, support), weights)

    def support_loss(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_{T_i}(f_{θ_i})`` on the support of every task, ``[T]``."""
        x = episodes.support_x
        return task_loss(self.forward(x, weights, x.shape[1]), episodes.support_y)

    def query_logits(self, episodes: Episodes, weights: Weights) -> Tensor:
        """Query outputs ``[T, Q, K]``; support rides along to give the moments."""
        size = episodes.support_x.shape[1]
        both = torch.cat([episodes.support_x, episodes.query_x], dim=1)
        return self.forward(both, weights, size)[:, size:]

    def inner_loop(self, episodes: Episodes, steps: int, second_order: bool) -> Iterator[Weights]:
        """Weights of every task after 0, 1, … ``steps`` inner steps on the support.

        In prediction, each step sees the support as ``support_augmentation`` says.
        """
        strength = 0.0 if self.training else self.settings.support_augmentation
        weights = self.initial(episodes)
        yield weights
        for step in range(steps):
            seen = augmented_support(episodes, strength, step)
            gradients = gradients_of(self.support_loss(seen, weights), weights, second_order)
            weights = self.inner_step(weights, gradients, step)
            yield weights

    def adapt(self, episodes: Episodes, steps: int, second_order: bool) -> Weights:
        """θ_i' of every task after ``steps`` inner steps."""
        (weights,) = deque(self.inner_loop(episodes, steps, second_order), maxlen=1)
        return weights

    def predict(self, episodes: Episodes) -> Tensor:
        """Adapt for ``test_steps``, then predict the queries."""
        return self.predict_after(episodes, [self.settings.test_steps])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query outputs after each of the given numbers of inner steps, in one run."""
        outputs = {}
        with torch.enable_grad():
            path = enumerate(self.inner_loop(episodes, max(steps), second_order=False))
            for count, weights in path:
                if count in steps:
                    with torch.no_grad():
                        outputs[count] = self.query_logits(episodes, weights)
        return [outputs[count] for count in steps]


class HeadGradientMethod(GradientMethod):
    """A gradient method whose inner loop adapts the head alone, on features computed once."""

    adapts = "head"

    @abc.abstractmethod
    def features(self, episodes: Episodes) -> Episodes:
        """The episodes' features, normalised by the moments of each task's support."""

    def forward(self, x: Tensor, weights: Weights, support: int) -> Tensor:
        """The head on features ``[T, N, D]``."""
        return apply_head(x, weights)

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query outputs after each of the given numbers of inner steps on the head."""
        with torch.no_grad():
            features = self.features(episodes)
        return super().predict_after(features, steps)
