"""The protocol of a backbone."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from metabench.backbones.layers import Weights
from metabench.config.search import Range


class Backbone(nn.Module, abc.ABC):
    """A network ``[T, N, ...] -> [T, N, feature_dim]`` whose weights may differ per task.

    Attributes:
        feature_dim: length ``D`` of the feature vector.
        block_prefixes: the parts from input to output, by parameter-name prefix; what "last block"
            and "gradual unfreezing" refer to.
        kinds: of examples that it reads.
        ranges: where a setting is searched of methods that train this backbone, if not where the
            method says.
        external_pretraining: its weights come from outside: a learner that has them has the flag.
        pretrained_on: and learned what: ``imagenet`` stands for the classes of ImageNet-1k, which
            are left out of test episodes (:mod:`metabench.pipeline.overlap`).
        packages: what it needs that metabench does not: the distributions that hold its code or its
            weights. A served learner asks for them.
    """

    feature_dim: int
    block_prefixes: tuple[str, ...]
    kinds: ClassVar[frozenset[str]]
    ranges: ClassVar[dict[str, Range]] = {}
    external_pretraining: bool = False
    pretrained_on: ClassVar[str] = "unknown"
    packages: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def learned_from(cls, settings: Mapping[str, Any]) -> str | None:
        """``pretrained_on``, if weights come from outside with these settings; else None."""
        return cls.pretrained_on if cls.external_pretraining else None

    @property
    def channels(self) -> int:
        """Length ``C`` of a local feature (see :meth:`maps`)."""
        return self.feature_dim

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path | None:
        """The file of weights that the backbone finds by itself, if there is one.

        Its content is in the keys of all that is made with it.

        Raises:
            InputError: there should be one, but it cannot be had.
        """
        return None

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
