"""Multi-layer perceptron: the sinusoid network (40-40) and a backbone for vectors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.layers import TaskLinear, Weights, scope
from metabench.config.bounds import Width


class MLP(Backbone):
    """Fully connected layers with ReLU (Finn et al. 2017, 5.1: two hidden layers of 40).

    Args:
        input_shape: any shape; examples are flattened.
        widths: sizes of the hidden layers; the last is ``feature_dim``.
    """

    kinds = frozenset({"regression", "vector", "image"})

    def __init__(
        self,
        input_shape: tuple[int, ...],
        widths: Annotated[Sequence[Width], Field(min_length=1)] = (40, 40),
    ):
        super().__init__()
        sizes = [math.prod(input_shape), *widths]
        self.layers = nn.ModuleList(TaskLinear(a, b) for a, b in itertools.pairwise(sizes))
        self.block_prefixes = tuple(f"layers.{i}." for i in range(len(widths)))
        self.feature_dim = sizes[-1]

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """``[T, N, ...] -> [T, N, widths[-1]]``; there is nothing to normalise."""
        x = x.flatten(2).transpose(0, 1)
        for i, layer in enumerate(self.layers):
            x = F.relu(layer(x, scope(weights, f"layers.{i}")))
        return x.transpose(0, 1)
