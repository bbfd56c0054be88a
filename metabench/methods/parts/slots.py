"""Label slots: for methods that read labels as one-hot inputs, or have an output for each class.

Such a method has one slot per class of a training episode. Classes take slots by their order of
appearance in the support, so that how they are called cannot matter. In training, the support comes
in random order; in evaluation, classes come in the random order in which they were drawn. So no
slot says anything of a class.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from metabench.episodes import Episodes
from metabench.files import InputError
from metabench.methods.base import FeatureMethod, Settings, Task


def slots_of(task: Task, settings: Settings) -> int:
    """The classes of a training episode, of which there are no more than the source has."""
    return min(settings.ways or task.ways, task.classes)


def require_slots(ways: int | None, slots: int) -> None:
    """Check that there is a slot for every class.

    Raises:
        InputError: more ways than slots.
    """
    if ways is not None and ways > slots:
        raise InputError(
            f"ways: this method was trained with {slots} label slots and cannot answer "
            f"{ways}-way episodes. Lower ways in the evaluation settings, or raise ways "
            "in the method's (or the profile's) training settings and train again."
        )


def to_slots(episodes: Episodes, slots: int) -> tuple[Episodes, Tensor]:
    """``episodes`` with slots for labels, and ``slot`` ``[T, ways]`` for ``restore_names``.

    Raises:
        InputError: more ways than slots.
    """
    require_slots(episodes.ways, slots)
    return episodes.by_appearance()


def shuffled(episodes: Episodes) -> Episodes:
    """The support of each task in random order, for training methods that read it as a sequence.

    Draws from torch's generator, which the training loop seeds by (seed, step).
    """
    order = torch.rand(episodes.support_y.shape[:2], device=episodes.support_y.device).argsort(1)
    rows = torch.arange(len(episodes), device=order.device)[:, None]
    return replace(
        episodes,
        support_x=episodes.support_x[rows, order],
        support_y=episodes.support_y[rows, order],
    )


class SequenceMethod(FeatureMethod):
    """A network that reads the support as a sequence and has a slot for each class of training.

    Attributes:
        norm: of the features, made by the subclass.
    """

    family = "model"
    variable_ways = False
    order_sensitive = True
    norm: nn.LayerNorm

    def embed(self, x: Tensor) -> Tensor:
        """Layer-normalised features ``[T, N, D]``."""
        return self.norm(self.backbone(x))

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Cross-entropy of the queries; the support comes in random order, and so do slots."""
        return super().loss(shuffled(batch), progress)
