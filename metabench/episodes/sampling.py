"""Where episodes come from: the training sampler and the frozen evaluation episodes.

Both draw by name (:mod:`metabench.rng`), from arrays that stay in memory, with one gather.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metabench import rng
from metabench.data.augmentation import augment
from metabench.data.base import Dataset, TaskFamily
from metabench.data.formats import to_input
from metabench.episodes import Episodes, gather
from metabench.episodes.source import Examples, Source
from metabench.files import InputError


def draw_indices(
    members: Sequence[np.ndarray], ways: int, size: int, draw: np.random.Generator
) -> np.ndarray:
    """One episode: ``[ways, size]`` example indices, classes and examples without repetition."""
    chosen = draw.permutation(len(members))[:ways]
    return np.stack([draw.permutation(members[c])[:size] for c in chosen])


def require(name: str, members: Sequence[np.ndarray], ways: int, size: int, what: str) -> None:
    """Check that episodes of this form can be drawn.

    Raises:
        InputError: too few classes, or a class with too few examples.
    """
    if len(members) < ways:
        raise InputError(f"dataset {name}: {what} needs {ways} classes, there are {len(members)}")
    smallest = min(len(m) for m in members)
    if smallest < size:
        raise InputError(
            f"dataset {name}: {what} needs {size} examples (shots + queries) of every class, but a "
            f"class has only {smallest}. Lower shots or queries in params.yaml, or add examples."
        )


class ArraySource(Source):
    """The ``train`` classes of a dataset, in memory on the device.

    Args:
        dataset: where to draw from; only its ``train`` partition is read.
        seed: seed of the cell; with the step it names every draw.
        share: of the classes, drawn by dataset and seed: those of a smaller share are among those
            of a larger one. Examples of other classes are not read.
    """

    def __init__(self, dataset: Dataset, seed: int, device: torch.device, share: float = 1.0):
        self.name = dataset.name
        self.augmentation = dataset.augmentation
        self.seed = seed
        self.device = device
        members = dataset.members("train")
        if share < 1:
            order = rng.generator(dataset.name, "source classes", seed).permutation(len(members))
            members = [members[c] for c in sorted(order[: round(share * len(members))])]
        kept = np.concatenate([np.empty(0, np.int64), *members])
        self.x = torch.from_numpy(np.ascontiguousarray(dataset.x[kept])).to(device)
        self.sizes = np.array([len(m) for m in members], np.int64)
        self.starts = np.concatenate([[0], self.sizes.cumsum()[:-1]])
        self.y = torch.repeat_interleave(
            torch.arange(len(members)), torch.from_numpy(self.sizes)
        ).to(device)

    @property
    def classes(self) -> int:
        """Number of training classes."""
        return len(self.sizes)

    def gather(self, indices: np.ndarray) -> Tensor:
        """Network inputs of the given rows, in the shape of ``indices``."""
        return to_input(gather(self.x, torch.from_numpy(indices).to(self.device)))

    def variants(self, indices: np.ndarray, strength: float, *name: str | int) -> Tensor:
        """As :meth:`gather`, each row augmented by a draw of its own; ``name`` names the draws."""
        x = self.gather(indices)
        draw = rng.torch_generator(self.seed, "augmentation", *name)
        varied = augment(x.flatten(0, indices.ndim - 1)[None], self.augmentation, strength, draw)
        return varied.view_as(x)

    def episodes(
        self, step: int, tasks: int, ways: int, shots: int, queries: int, augmentation: float = 0.0
    ) -> Episodes:
        """The training episodes of outer step ``step``; all tasks in a few array operations.

        ``augmentation``: strength, 0 to 1, for support and queries alike.
        """
        size = shots + queries
        if ways > self.classes or size > self.sizes.min():
            members = [np.arange(n) for n in self.sizes]
            require(self.name, members, ways, size, f"a {ways}-way {shots}-shot training episode")
        draw = rng.generator(self.seed, "episodes", step)
        classes = draw.random((tasks, self.classes)).argsort(1)[:, :ways]  # [T, ways]
        keys = draw.random((tasks, ways, self.sizes.max()))
        keys[np.arange(keys.shape[2]) >= self.sizes[classes][..., None]] = np.inf
        rows = self.starts[classes][..., None] + keys.argsort(2)[..., :size]
        if augmentation and self.augmentation:
            x = self.variants(rows, augmentation, "episodes", step)
            return replace(assemble(x, shots), augmentation=self.augmentation)
        # the same without a second copy of all examples
        parts = np.split(rows, [shots], axis=2)
        x = self.gather(np.concatenate([part.ravel() for part in parts]))
        support, query = x.split([part.size for part in parts])
        return Episodes(
            support.unflatten(0, (tasks, -1)),
            _labels(tasks, ways, shots, self.device),
            query.unflatten(0, (tasks, -1)),
            _labels(tasks, ways, queries, self.device),
            ways,
            self.augmentation,
        )

    def batch(self, step: int, size: int, augmentation: float = 0.0) -> Examples:
        """Plain batch of step ``step``: a slice of a fresh permutation for every epoch."""
        total = len(self.y)
        size = min(size, total)
        per_epoch = total // size
        order = rng.generator(self.seed, "epoch", step // per_epoch).permutation(total)
        start = (step % per_epoch) * size
        rows = order[start : start + size]
        x = self.variants(rows, augmentation, "batch", step)
        return Examples(x, self.y[torch.from_numpy(rows).to(self.device)])

    def features(
        self, embed: Any, limit: int = 5000, augmentation: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Embed up to ``limit`` examples, spread evenly over the training set."""
        rows = np.unique(np.linspace(0, len(self.y) - 1, min(limit, len(self.y))).astype(int))
        with torch.no_grad():
            parts = [
                embed(self.variants(chunk, augmentation, "features", number)[None])[0]
                for number, chunk in enumerate(np.array_split(rows, math.ceil(len(rows) / 500)))
            ]
        return torch.cat(parts), self.y[torch.from_numpy(rows).to(self.device)]


def assemble(x: Tensor, shots: int) -> Episodes:
    """Split ``[T, ways, shots + queries, ...]`` inputs into support and query."""
    t, ways, size = x.shape[:3]
    return Episodes(
        support_x=x[:, :, :shots].flatten(1, 2),
        support_y=_labels(t, ways, shots, x.device),
        query_x=x[:, :, shots:].flatten(1, 2),
        query_y=_labels(t, ways, size - shots, x.device),
        ways=ways,
    )


def _labels(tasks: int, ways: int, each: int, device: torch.device) -> Tensor:
    """``[tasks, ways * each]``: class by class."""
    labels = torch.arange(ways, device=device)[None, :, None]
    return labels.expand(tasks, ways, each).reshape(tasks, -1)


def split_points(x: Tensor, y: Tensor, shots: int) -> Episodes:
    """Regression episodes from ``[T, N, ·]`` points: the first ``shots`` are the support."""
    return Episodes(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:], ways=None)


class TaskSource(Source):
    """Fresh regression tasks of a family for every step; there is no augmentation of them."""

    classes = 0

    def __init__(self, family: TaskFamily, seed: int, device: torch.device):
        self.family = family
        self.seed = seed
        self.device = device

    def _points(self, step: int, tasks: int, points: int) -> tuple[Tensor, Tensor]:
        x, y = self.family.sample(tasks, points, rng.generator(self.seed, "tasks", step))
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    def episodes(
        self, step: int, tasks: int, ways: int, shots: int, queries: int, augmentation: float = 0.0
    ) -> Episodes:
        """Fresh tasks with ``shots`` support and ``queries`` query points."""
        return split_points(*self._points(step, tasks, shots + queries), shots)

    def batch(self, step: int, size: int, augmentation: float = 0.0) -> Examples:
        """One point from each of ``size`` fresh tasks: the mixture of all tasks."""
        x, y = self._points(step, size, 1)
        return Examples(x[:, 0], y[:, 0])

    def features(
        self, embed: Any, limit: int = 5000, augmentation: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Features of points of the mixture, and their targets."""
        x, y = self._points(-1, limit, 1)
        with torch.no_grad():
            return embed(x.transpose(0, 1))[0], y[:, 0]
