"""A support that each step of adaptation sees in other variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from metabench import rng
from metabench.config.bounds import Share
from metabench.config.search import ADAPTS, Choice
from metabench.data.augmentation import augment
from metabench.episodes import Episodes, take
from metabench.methods.base import Settings


class AugmentedSupport(Settings):
    """What a method adapts to.

    Attributes:
        support_augmentation: strength of the variants of the support that each step of adaptation
            sees in prediction, 0 for the support itself. Which there are is declared by the dataset
            that the episode is of. Queries, and moments for them, are never augmented.
    """

    support_augmentation: Annotated[Share, Choice(0.0, 0.5, 1.0), ADAPTS] = 0.0


def augmented_support(episodes: Episodes, strength: float, step: int) -> Episodes:
    """The episodes as step ``step`` of adaptation sees them: fresh variants of the support.

    The step alone names the draws, and which of them an example gets depends on what it is, not on
    where it stands: the order of the support does not matter, nor do other tasks or the queries.
    """
    if strength == 0 or not episodes.augmentation:
        return episodes
    x, draw = episodes.support_x, rng.torch_generator("support augmentation", step)
    order = content_order(x)
    varied = augment(take(x, order), episodes.augmentation, strength, draw)
    return replace(episodes, support_x=take(varied, order.argsort(1)))


def content_order(x: Tensor) -> Tensor:
    """``[T, N]``: the examples ``[T, N, ...]`` sorted by a random projection of their content."""
    flat = x.flatten(2).double()
    onto = torch.randn(flat.shape[2], generator=rng.torch_generator("content order")).to(flat)
    return (flat @ onto).argsort(1)
