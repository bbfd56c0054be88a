"""Gradient-based adaptation: the inner loop that MAML, its family and fine-tuning share.

Weights are a dictionary of tensors with a leading task axis, so that one gradient of the *sum* of
the task losses is the gradient of every task by itself (tasks share no adapted tensor).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Count, Positive, Whole
from metabench.episodes import Episodes, task_loss
from metabench.methods.base import Method, Settings, Task

Forward = Callable[[Tensor, dict[str, Tensor]], Tensor]
"""``(x [T, N, ...], weights) -> output [T, N, K]``."""


def per_task(parameters: Mapping[str, Tensor], tasks: int) -> dict[str, Tensor]:
    """One copy of each parameter per task, ``[T, *shape]``, still connected to the original."""
    return {name: p.expand(tasks, *p.shape) for name, p in parameters.items()}


def gradient_step(
    forward: Forward,
    weights: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    learning_rate: Callable[[str], Tensor | float],
    second_order: bool,
) -> dict[str, Tensor]:
    """One step ``θ' = θ − α ∇_θ L(f_θ)`` for every task (Finn et al. 2017, eq. 1).

    Args:
        forward: the network, given adapted weights.
        weights: the adapted tensors ``[T, ...]``; they must require gradients.
        x: support ``[T, S, ...]``.
        y: labels ``[T, S]`` or targets ``[T, S, D]``.
        learning_rate: α of a parameter, by name: a number or a tensor broadcast to its shape.
        second_order: keep the graph, so that the step itself can be differentiated.
    """
    loss = task_loss(forward(x, weights), y).sum()
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=second_order)
    return {
        name: weight - learning_rate(name) * gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }


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


class InnerLoopSettings(Settings):
    """Settings of the inner loop.

    Attributes:
        inner_lr: α.
        steps: inner steps in training.
        test_steps: inner steps in prediction (Finn et al. use more than in training).
    """

    inner_lr: Positive = 0.1
    steps: Count = 5
    test_steps: Whole = 10


class GradientMethod(Method):
    """A method that adapts weights to the support by gradient steps, then predicts the queries.

    A subclass says from where (:meth:`initial`), what stays (:meth:`fixed`), how far
    (:meth:`learning_rate`), and how all this is learned (``loss``). Batch normalisation uses the
    moments of the task's own support for support and queries alike.
    """

    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = InnerLoopSettings

    def __init__(self, backbone: Backbone, task: Task, settings: InnerLoopSettings):
        super().__init__(backbone, task, settings)
        self.head = Head(backbone.feature_dim, task.outputs)

    def initial(self, episodes: Episodes) -> dict[str, Tensor]:
        """θ, one copy per task: by default all parameters of backbone and head."""
        parameters = dict(self.backbone.named_parameters()) | self.head.start(episodes.ways)
        return per_task(parameters, len(episodes))

    def fixed(self, episodes: Episodes) -> dict[str, Tensor]:
        """Per-task weights that the inner loop leaves alone."""
        return {}

    def learning_rate(self, name: str, step: int) -> Tensor | float:
        """α of parameter ``name`` in inner step ``step``."""
        return self.settings.inner_lr

    def proximity(self) -> float:
        """λ of a penalty ``(λ/2)‖θ_i' − θ‖²`` on the distance from the start, in the inner loss."""
        return 0.0

    def forward(self, x: Tensor, weights: dict[str, Tensor], support: int) -> Tensor:
        """``[T, N, ...] -> [T, N, K]``; the first ``support`` examples give the moments."""
        return apply_head(self.backbone(x, weights, support), weights)

    def inner_steps(
        self, episodes: Episodes, steps: int, second_order: bool
    ) -> Iterator[dict[str, Tensor]]:
        """All weights of every task after 0, 1, … ``steps`` inner steps on the support."""
        fixed, start = self.fixed(episodes), self.initial(episodes)
        size, regularisation = episodes.support_x.shape[1], self.proximity()
        weights = start
        yield weights | fixed
        for step in range(steps):
            before = weights
            weights = gradient_step(
                lambda x, w: self.forward(x, w | fixed, size),
                weights,
                episodes.support_x,
                episodes.support_y,
                lambda name: self.learning_rate(name, step),  # noqa: B023 (used within this iteration)
                second_order,
            )
            if regularisation:
                weights = {
                    name: w
                    - self.learning_rate(name, step) * regularisation * (before[name] - start[name])
                    for name, w in weights.items()
                }
            yield weights | fixed

    def adapt(self, episodes: Episodes, steps: int, second_order: bool) -> dict[str, Tensor]:
        """θ_i' of every task after ``steps`` inner steps."""
        *_, weights = self.inner_steps(episodes, steps, second_order)
        return weights

    def query_logits(self, episodes: Episodes, weights: dict[str, Tensor]) -> Tensor:
        """Query outputs ``[T, Q, K]``; support rides along to give the moments."""
        size = episodes.support_x.shape[1]
        both = torch.cat([episodes.support_x, episodes.query_x], dim=1)
        return self.forward(both, weights, size)[:, size:]

    def predict(self, episodes: Episodes) -> Tensor:
        """Adapt for ``test_steps``, then predict the queries."""
        return self.predict_after(episodes, [self.settings.test_steps])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        """Query outputs after each of the given numbers of inner steps, in one run."""
        outputs = {}
        with torch.enable_grad():
            path = enumerate(self.inner_steps(episodes, max(steps), second_order=False))
            for count, weights in path:
                if count in steps:
                    with torch.no_grad():
                        outputs[count] = self.query_logits(episodes, weights)
        return [outputs[count] for count in steps]
