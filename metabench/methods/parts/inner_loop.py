"""What methods with an inner loop share: weights of each task, their gradients, the loop itself.

Weights are a dictionary of tensors with a leading task axis, so that one gradient of the *sum* of
the task losses is the gradient of every task by itself (tasks share no adapted tensor).

Classes take label slots by order of appearance in the support, at random in training, and the head
has a learned row for each slot, as Finn et al. (2017) have it.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Positive, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, restore_names, task_loss
from metabench.methods.base import Method, Task
from metabench.methods.parts.augmented import AugmentedSupport, augmented_support
from metabench.methods.parts.slots import shuffled, slots_of

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


def rows_for(rows: Tensor, ways: int) -> Tensor:
    """What ``ways`` classes start from, ``[ways, ...]``, given ``rows`` ``[slots, ...]``.

    Fewer ways than slots leave the last slots empty. Classes beyond the slots of training start at
    the mean row: softmax sees differences between rows alone, so the mean prefers no class, and
    labels tell these classes apart from the first step on. (Ye & Chao 2022 try the mean for *all*
    classes at test time; the slots keep theirs here, as the body's first step needs differences.)
    """
    further = rows.mean(0).expand(max(0, ways - len(rows)), *rows.shape[1:])
    return torch.cat([rows[:ways], further])


class Head(nn.Module):
    """Linear output layer for adaptation by gradient: a learned row for each label slot.

    In regression, a row for each component of a target.
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        bound = features**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def start(self, ways: int | None) -> dict[str, Tensor]:
        """Initial ``head.weight`` ``[K, D]`` and ``head.bias`` ``[K]`` for one task."""
        rows: dict[str, Tensor] = {"head.weight": self.weight, "head.bias": self.bias}
        return rows if ways is None else {n: rows_for(w, ways) for n, w in rows.items()}


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
        moments: whose moments batch norms use in prediction: those of the task's own support, as
            in training, or the running ones of the supports that training has seen.
    """

    inner_lr: Annotated[Positive, Log(5e-3, 0.5)] = 0.1
    steps: Annotated[Count, Choice(1, 2, 3, 5, 8)] = 5
    test_steps: Annotated[Whole, Log(1, 100), ADAPTS] = 10
    moments: Annotated[Literal["source", "support"], Choice("source", "support"), ADAPTS] = (
        "support"
    )


class GradientMethod(Method):
    """A method that adapts weights to the support by gradient steps, then predicts the queries.

    A subclass says from where (:meth:`initial`), how a step goes (:meth:`inner_step`), and how all
    this is learned (:meth:`outer_loss`). In training, batch norms use the moments of the task's own
    support, for support and queries alike. As in ordinary training, running moments follow along,
    here those of the supports before adaptation: prediction may use them (``moments``).
    """

    kinds = frozenset({"image", "text", "vector", "regression"})
    order_sensitive = True  # classes take label slots by order of appearance
    Settings = InnerLoopSettings

    def __init__(self, backbone: Backbone, task: Task, settings: InnerLoopSettings):
        super().__init__(backbone, task, settings)
        self.head = Head(backbone.feature_dim, task.outputs or slots_of(task, settings))
        self.normalises = any(isinstance(part, _BatchNorm) for part in backbone.modules())

    def body(self) -> dict[str, Tensor]:
        """The backbone's weights before adaptation, by name."""
        return dict(self.backbone.named_parameters())

    def initial(self, episodes: Episodes) -> Weights:
        """θ, one copy per task: by default all parameters of backbone and head."""
        return per_task(self.body() | self.head.start(episodes.ways), len(episodes))

    @abc.abstractmethod
    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """Weights after inner step ``step`` = 0, 1, …, of all tasks, from those before it.

        Args:
            weights: θ_i of every task i.
            gradients: ``∇ L_{T_i}(f_{θ_i})`` on its support.
        """

    @abc.abstractmethod
    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """The training loss of tasks whose labels are slots; see :meth:`Method.loss`."""

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """The outer loss, after classes took slots at random and running moments moved on."""
        if self.normalises:
            with torch.no_grad():
                self.backbone(batch.support_x, self.body())
        if batch.ways is not None:
            batch, _ = shuffled(batch).by_appearance()
        return self.outer_loss(batch, progress)

    def moments(self, episodes: Episodes) -> int | None:
        """Whose moments normalise: those of so many first examples, or the source's (``None``)."""
        source = self.settings.moments == "source" and not self.training
        return None if source else episodes.support_x.shape[1]

    def forward(self, x: Tensor, weights: Weights, support: int | None) -> Tensor:
        """``[T, N, ...] -> [T, N, K]``; ``support`` as :meth:`moments` gives it."""
        return apply_head(self.backbone(x, weights, support), weights)

    def support_loss(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_{T_i}(f_{θ_i})`` on the support of every task, ``[T]``."""
        outputs = self.forward(episodes.support_x, weights, self.moments(episodes))
        return task_loss(outputs, episodes.support_y)

    def query_logits(self, episodes: Episodes, weights: Weights) -> Tensor:
        """Query outputs ``[T, Q, K]``; support rides along to give the moments."""
        both = torch.cat([episodes.support_x, episodes.query_x], dim=1)
        outputs = self.forward(both, weights, self.moments(episodes))
        return outputs[:, episodes.support_x.shape[1] :]

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
        outputs, slot = {}, None
        if episodes.ways is not None:
            episodes, slot = episodes.by_appearance()
        with torch.enable_grad():
            path = enumerate(self.inner_loop(episodes, max(steps), second_order=False))
            for count, weights in path:
                if count in steps:
                    with torch.no_grad():
                        found = self.query_logits(episodes, weights)
                    outputs[count] = found if slot is None else restore_names(found, slot)
        return [outputs[count] for count in steps]


class HeadGradientMethod(GradientMethod):
    """A gradient method whose inner loop adapts the head alone, on features computed once."""

    adapts = "head"

    def initial(self, episodes: Episodes) -> Weights:
        """The head only."""
        return per_task(self.head.start(episodes.ways), len(episodes))

    def features(self, episodes: Episodes) -> Episodes:
        """The episodes' features."""
        weights, support = self.body(), self.moments(episodes)
        return episodes.map(lambda x: self.backbone(x, weights, support))

    def forward(self, x: Tensor, weights: Weights, support: int | None) -> Tensor:
        """The head on features ``[T, N, D]``."""
        return apply_head(x, weights)

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query outputs after each of the given numbers of inner steps on the head."""
        with torch.no_grad():
            features = self.features(episodes)
        return super().predict_after(features, steps)
