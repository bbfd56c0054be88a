"""The training side of a source dataset, as a method may see it."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """A plain batch of labelled source examples: ``x`` ``[B, ...]``, ``y`` ``[B]``.

    Regression: ``y`` ``[B, D]``, drawn from a mixture of all training tasks.
    """

    x: Tensor
    y: Tensor

    @property
    def examples(self) -> int:
        """Number of examples: the unit of the budget."""
        return len(self.x)


class Source(abc.ABC):
    """The training side of a source dataset, as a method may see it: never ``val`` or ``test``."""

    @abc.abstractmethod
    def features(
        self, embed: Any, limit: int = 5000, augmentation: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Embed up to ``limit`` training examples (evenly over classes): ``[M, D]`` and ``[M]``.

        Args:
            augmentation: strength, 0 to 1, of the variants of the examples that are embedded; of
                no effect where the dataset declares no augmentation.
        """
