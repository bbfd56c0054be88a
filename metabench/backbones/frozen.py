"""Encoders that never change: a dataset's vectors are computed once, by the stage ``embed``.

So a learner on one costs what its head costs, whatever the encoder. No variant of an example is
encoded: vectors have no augmentation.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.backbones.layers import Weights

Encoder = Callable[[Any], Tensor]
"""Network inputs ``[N, ...]``, or N texts, to vectors ``[N, D]``."""


class Frozen(Backbone):
    """The vectors ``[T, N, D]`` themselves, which take the place of a dataset's examples.

    A subclass says what its encoder reads (``kinds``) and builds it (:meth:`encoder`); settings are
    arguments of its constructor, and the encoder's.

    Attributes:
        batch: examples that are encoded at once.
        reads_texts: the encoder takes word pieces apart in its own way, so it gets the texts.
    """

    external_pretraining = True
    block_prefixes = ()
    batch: ClassVar[int] = 64
    reads_texts: ClassVar[bool] = False

    def __init__(self, input_shape: tuple[int, ...]):
        super().__init__()
        self.feature_dim = input_shape[0]

    @abc.abstractmethod
    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """What computes the vectors of examples of ``shape``, with its weights.

        Raises:
            InputError: the weights cannot be had, or the encoder does not take such examples.
        """

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """The vectors, as they come."""
        return x


def encoding(backbone: Backbone) -> Encoder:
    """A trained backbone as an encoder."""
    backbone.eval()

    def encode(x: Tensor) -> Tensor:
        with torch.no_grad():
            return backbone(x[None])[0]

    return encode
