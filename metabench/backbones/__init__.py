"""Backbones: networks that map an example to a feature vector, and their registry by name."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from torch import Tensor, nn

from metabench.backbones.layers import Weights
from metabench.registry import Registry


class Backbone(nn.Module, abc.ABC):
    """A network ``[T, N, ...] -> [T, N, feature_dim]`` whose weights may differ per task.

    Attributes:
        feature_dim: length ``D`` of the feature vector.
        blocks: the parts from input to output, by parameter-name prefix; what "last block" and
            "gradual unfreezing" refer to.
    """

    feature_dim: int
    block_prefixes: tuple[str, ...]
    kinds: ClassVar[frozenset[str]]

    @abc.abstractmethod
    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """Features of a batch of tasks.

        Args:
            x: ``[T, N, ...]`` examples.
            weights: replacements of named parameters, with or without a leading task axis.
            support: the first ``support`` examples of each task provide the normalisation moments
                for all ``N``; ``None``: running moments (eval) or batch moments (training).

        Returns:
            ``[T, N, feature_dim]``.
        """

    def maps(self, x: Tensor, weights: Weights | None = None, support: int | None = None) -> Tensor:
        """Local features ``[T, N, C, P]`` at ``P`` positions, before the last pooling.

        A backbone without positions has one: its feature vector.
        """
        return self(x, weights, support).unsqueeze(-1)


BACKBONES: Registry[type[Backbone]] = Registry(
    "backbone",
    {
        "conv4": "metabench.backbones.conv4:Conv4",
        "mlp": "metabench.backbones.mlp:MLP",
    },
    group="metabench.backbones",
)


def build_backbone(name: str, input_shape: tuple[int, ...], **settings: Any) -> Backbone:
    """Build the backbone registered as ``name`` for examples of ``input_shape``."""
    return BACKBONES.load(name)(input_shape, **settings)  # type: ignore[call-arg]
