"""Gradient-based adaptation: the inner loop that MAML, its family and fine-tuning share.

Weights are a dictionary of tensors with a leading task axis, so that one gradient of the *sum* of
the task losses is the gradient of every task by itself (tasks share no adapted tensor).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from metabench.episodes import task_loss

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
    rate: Callable[[str], Tensor | float],
    second_order: bool,
) -> dict[str, Tensor]:
    """One step ``θ' = θ − α ∇_θ L(f_θ)`` for every task (Finn et al. 2017, eq. 1).

    Args:
        forward: the network, given adapted weights.
        weights: the adapted tensors ``[T, ...]``; they must require gradients.
        x: support ``[T, S, ...]``.
        y: labels ``[T, S]`` or targets ``[T, S, D]``.
        rate: step size α of a parameter, by name: a number or a tensor broadcast to its shape.
        second_order: keep the graph, so that the step itself can be differentiated.
    """
    loss = task_loss(forward(x, weights), y).sum()
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=second_order)
    return {
        name: weight - rate(name) * gradient
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
