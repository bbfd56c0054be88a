"""Fine-tuning on a support set: gradient descent on weights of each task's own."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.config.bounds import BelowOne, NonNegative, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes, class_means, task_loss
from metabench.methods.base import Method, Task
from metabench.methods.parts.augmented import AugmentedSupport, augmented_support
from metabench.methods.parts.inner_loop import Head, Weights, apply_head, per_task


def descend(
    loss: Callable[[Weights, int], Tensor],
    weights: Weights,
    learning_rate: Callable[[str, int], float],
    momentum: float,
    steps: range,
    velocity: Weights,
) -> Weights:
    """Gradient descent with momentum, ``v ← μv + ∇L, θ ← θ − αv``, on detached weights.

    Args:
        loss: sum over tasks of the task losses, by weights and step; each task has its own
            gradient.
        learning_rate: α of a parameter, by name and step; at 0 it stays and gathers no momentum.
        velocity: carried from call to call; empty at first.
    """
    for step in steps:
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        gradients = torch.autograd.grad(loss(leaves, step), list(leaves.values()))
        for (name, weight), gradient in zip(leaves.items(), gradients, strict=True):
            weights[name], rate = weight.detach(), learning_rate(name, step)
            if rate > 0:
                velocity[name] = momentum * velocity.get(name, torch.zeros(())) + gradient
                weights[name] = weights[name] - rate * velocity[name]
    return weights


SCALE = 10.0
"""Logits at the start are cosine similarities times this."""


class FineTuneSettings(AugmentedSupport):
    """Adaptation settings.

    Attributes:
        finetune_lr: step size α on the backbone.
        head_lr: step size on the head.
        momentum: μ.
        steps: number of steps.
        moments: whose moments batch norms use: the running ones of pretraining on the source, or
            those of the task's own support, for support and queries alike.
    """

    # above 0.02, three draws of four diverged on val of glyphs, and the fourth was at chance
    finetune_lr: Annotated[NonNegative, Log(3e-4, 0.05), ADAPTS] = 0.005
    head_lr: Annotated[NonNegative, Log(5e-3, 0.5), ADAPTS] = 0.05
    momentum: BelowOne = 0.9
    steps: Annotated[Whole, Log(1, 300), ADAPTS] = 15
    moments: Annotated[Literal["source", "support"], Choice("source", "support"), ADAPTS] = "source"


class FineTuneMethod(Method):
    """Adapts backbone and head to the support from a start that no episode changes.

    A subclass says which weights of the backbone adapt (:meth:`adapted`), beside the head, and what
    they minimise (:meth:`objective`).

    The classification head starts at the scaled directions of the class means of the support
    ("weight imprinting", Qi et al. 2018): it favours no name, works for any number of ways, and
    spends no steps on what is known in closed form. The regression head is the pretrained one.
    """

    source_training = "none"
    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = FineTuneSettings

    def __init__(self, backbone: Backbone, task: Task, settings: FineTuneSettings):
        super().__init__(backbone, task, settings)
        if task.kind == "regression":
            self.head = Head(backbone.feature_dim, task.outputs)

    def moments(self, episodes: Episodes) -> int | None:
        """Whose moments normalise: those of so many first examples, or the source's (``None``)."""
        return episodes.support_x.shape[1] if self.settings.moments == "support" else None

    @abc.abstractmethod
    def adapted(self) -> dict[str, Tensor]:
        """The backbone's parameters that adapt, by name."""

    @abc.abstractmethod
    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """What adaptation minimises, summed over tasks."""

    def outputs(self, episodes: Episodes, x: Tensor, weights: Weights) -> Tensor:
        """``f_θ(x)`` ``[T, N, K]`` of examples ``[T, N, ...]`` of the episodes.

        The support rides along where it gives the moments.
        """
        size = self.moments(episodes)
        if size is None or x is episodes.support_x:
            return self.read_out(self.backbone(x, weights, size), weights)
        both = torch.cat([episodes.support_x, x], dim=1)
        return self.read_out(self.backbone(both, weights, size)[:, size:], weights)

    def read_out(self, features: Tensor, weights: Weights) -> Tensor:
        """Outputs ``[T, N, K]`` of features ``[T, N, D]``."""
        return apply_head(features, weights)

    def support_loss(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S(θ) = (1/|S|) Σ CE(f_θ(x), y)`` (regression: squared error), summed over tasks."""
        outputs = self.outputs(episodes, episodes.support_x, weights)
        return task_loss(outputs, episodes.support_y).sum()

    def learning_rate(self, name: str, step: int) -> float:
        """Step size of a parameter in step ``step``."""
        s = self.settings
        return float(s.head_lr if name.startswith("head.") else s.finetune_lr)

    def head_start(self, episodes: Episodes) -> Weights:
        """``head.weight`` ``[T, K, D]`` and ``head.bias`` ``[T, K]``."""
        if episodes.ways is None:
            return per_task(self.head.start(None), len(episodes))
        features = self.backbone(episodes.support_x, support=self.moments(episodes))
        means = class_means(features, episodes.support_y, episodes.ways)
        size = features.norm(dim=-1).mean(1)[:, None, None]
        weight = SCALE * F.normalize(means, dim=-1) / size
        return {"head.weight": weight, "head.bias": torch.zeros_like(weight[..., 0])}

    def predict(self, episodes: Episodes) -> Tensor:
        """Adapt, then predict the queries."""
        return self.predict_after(episodes, [self.settings.steps])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query outputs after each of the given numbers of steps, in one run."""

        def loss(weights: Weights, step: int) -> Tensor:
            strength = self.settings.support_augmentation
            return self.objective(augmented_support(episodes, strength, step), weights)

        with torch.no_grad():
            weights = per_task(self.adapted(), len(episodes)) | self.head_start(episodes)
        outputs, velocity, done = {}, Weights(), 0
        for count in sorted(set(steps)):
            with torch.enable_grad():
                weights = descend(
                    loss,
                    weights,
                    self.learning_rate,
                    self.settings.momentum,
                    range(done, count),
                    velocity,
                )
            done = count
            with torch.no_grad():
                outputs[count] = self.outputs(episodes, episodes.query_x, weights)
        return [outputs[count] for count in steps]
