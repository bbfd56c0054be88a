"""Where episodes come from: the training sampler and the frozen evaluation episodes.

Both draw by name (:mod:`metabench.rng`), from arrays that stay in memory, with one gather.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metabench import rng
from metabench.data.base import Dataset, TaskFamily
from metabench.episodes import Episodes
from metabench.files import DAMAGED, InputError, atomic, digest
from metabench.methods.base import Examples, Source


def to_input(x: Tensor) -> Tensor:
    """Stored examples to network input: uint8 images to ``[0, 1]``, the rest as it is."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


def conform(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bring a target's images ``[N, C, H, W]`` into the source's format ``(C, H, W)``.

    Colour becomes grey by the mean, grey becomes colour by repetition, sizes change bilinearly.
    """
    if x.dim() != 4 or tuple(x.shape[1:]) == shape:
        return x
    images = x.float()
    if images.shape[1] != shape[0]:
        images = images.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    if images.shape[2:] != shape[1:]:
        images = F.interpolate(images, shape[1:], mode="bilinear", antialias=True)
    return images.round().clamp(0, 255).to(torch.uint8)


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
    """

    def __init__(self, dataset: Dataset, seed: int, device: torch.device):
        self.name = dataset.name
        self.seed = seed
        self.device = device
        members = dataset.members("train")
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
        return to_input(self.x[torch.from_numpy(indices).to(self.device)])

    def episodes(self, step: int, tasks: int, ways: int, shots: int, queries: int) -> Episodes:
        """The training episodes of outer step ``step``; all tasks in a few array operations."""
        size = shots + queries
        if ways > self.classes or size > self.sizes.min():
            members = [np.arange(n) for n in self.sizes]
            require(self.name, members, ways, size, f"a {ways}-way {shots}-shot training episode")
        draw = rng.generator(self.seed, "episodes", step)
        classes = draw.random((tasks, self.classes)).argsort(1)[:, :ways]  # [T, ways]
        keys = draw.random((tasks, ways, self.sizes.max()))
        keys[np.arange(keys.shape[2]) >= self.sizes[classes][..., None]] = np.inf
        rows = self.starts[classes][..., None] + keys.argsort(2)[..., :size]
        return assemble(self.gather(rows), shots)

    def batch(self, step: int, size: int) -> Examples:
        """Plain batch of step ``step``: a slice of a fresh permutation for every epoch."""
        total = len(self.y)
        size = min(size, total)
        per_epoch = total // size
        order = rng.generator(self.seed, "epoch", step // per_epoch).permutation(total)
        start = (step % per_epoch) * size
        rows = order[start : start + size]
        return Examples(self.gather(rows), self.y[torch.from_numpy(rows).to(self.device)])

    def features(self, embed: Any, limit: int = 5000) -> tuple[Tensor, Tensor]:
        """Embed up to ``limit`` examples, spread evenly over the training set."""
        rows = np.unique(np.linspace(0, len(self.y) - 1, min(limit, len(self.y))).astype(int))
        with torch.no_grad():
            parts = [
                embed(self.gather(chunk)[None])[0]
                for chunk in np.array_split(rows, math.ceil(len(rows) / 500))
            ]
        return torch.cat(parts), self.y[torch.from_numpy(rows).to(self.device)]


def assemble(x: Tensor, shots: int, y: Tensor | None = None) -> Episodes:
    """Split ``[T, ways, shots + queries, ...]`` inputs into support and query."""
    t, ways = x.shape[:2]
    labels = torch.arange(ways, device=x.device)[None, :, None].expand(t, ways, x.shape[2])
    return Episodes(
        support_x=x[:, :, :shots].flatten(1, 2),
        support_y=labels[:, :, :shots].flatten(1, 2),
        query_x=x[:, :, shots:].flatten(1, 2),
        query_y=labels[:, :, shots:].flatten(1, 2),
        ways=ways,
    )


def split_points(x: Tensor, y: Tensor, shots: int) -> Episodes:
    """Regression episodes from ``[T, N, ·]`` points: the first ``shots`` are the support."""
    return Episodes(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:], ways=None)


class TaskSource(Source):
    """Fresh regression tasks of a family for every step."""

    classes = 0

    def __init__(self, family: TaskFamily, seed: int, device: torch.device):
        self.family = family
        self.seed = seed
        self.device = device

    def _points(self, step: int, tasks: int, points: int) -> tuple[Tensor, Tensor]:
        x, y = self.family.sample(tasks, points, rng.generator(self.seed, "tasks", step))
        return torch.from_numpy(x).to(self.device), torch.from_numpy(y).to(self.device)

    def episodes(self, step: int, tasks: int, ways: int, shots: int, queries: int) -> Episodes:
        """Fresh tasks with ``shots`` support and ``queries`` query points."""
        return split_points(*self._points(step, tasks, shots + queries), shots)

    def batch(self, step: int, size: int) -> Examples:
        """One point from each of ``size`` fresh tasks: the mixture of all tasks."""
        x, y = self._points(step, size, 1)
        return Examples(x[:, 0], y[:, 0])

    def features(self, embed: Any, limit: int = 5000) -> tuple[Tensor, Tensor]:
        """Features of points of the mixture, and their targets."""
        x, y = self._points(-1, limit, 1)
        with torch.no_grad():
            return embed(x.transpose(0, 1))[0], y[:, 0]


@dataclass(frozen=True)
class Frozen:
    """Evaluation episodes that every method sees, and their content hash.

    Attributes:
        indices: ``[E, ways, shots + queries]`` rows of the dataset; empty for regression.
        points: ``(x [E, N, ·], y [E, N, ·])`` for regression.
        hash: digest of the episodes' content: indices and the dataset's digest, or the points.
    """

    dataset: str
    ways: int
    shots: int
    hash: str
    indices: np.ndarray | None = None
    points: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        array = self.indices if self.indices is not None else self.points[0]  # type: ignore[index]
        return len(array)

    @property
    def queries(self) -> int:
        """Queries per class (regression: per task)."""
        array = self.indices if self.indices is not None else self.points[0]  # type: ignore[index]
        size = array.shape[2] if self.indices is not None else array.shape[1]
        return int(size) - self.shots

    def episodes(self, tasks: slice, table: Tensor | None) -> Episodes:
        """Episodes ``tasks``, with rows of ``table`` (inputs or features of all examples)."""
        if self.points is not None:
            x, y = (torch.from_numpy(p[tasks]) for p in self.points)
            return split_points(x, y, self.shots)
        assert self.indices is not None and table is not None
        rows = torch.from_numpy(self.indices[tasks].astype(np.int64)).to(table.device)
        return assemble(to_input(table[rows]), self.shots)

    def save(self, path: Path) -> None:
        """Write as ``.npz``, atomically."""
        arrays = (
            {"indices": self.indices}
            if self.points is None
            else {"x": self.points[0], "y": self.points[1]}
        )
        header = {
            "dataset": self.dataset,
            "ways": self.ways,
            "shots": self.shots,
            "hash": self.hash,
        }
        with atomic(path) as temporary:
            np.savez(temporary, **arrays, **header)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> Frozen:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            return Frozen(
                dataset=str(data["dataset"]),
                ways=int(data["ways"]),
                shots=int(data["shots"]),
                hash=str(data["hash"]),
                indices=data.get("indices"),
                points=(data["x"], data["y"]) if "x" in data else None,
            )
        except DAMAGED as error:
            raise InputError(
                f"{path}: damaged or missing episodes ({error}). Delete it and run `dvc repro`."
            ) from error


def freeze(
    dataset: Dataset, partition: str, ways: int, shots: int, queries: int, count: int, content: str
) -> Frozen:
    """Draw ``count`` episodes once and for all, or take the published ones.

    Each draw is named by dataset, partition, ways, shots and episode number, never by a method; a
    longer list begins with the shorter one.

    Args:
        content: digest of the dataset's arrays; part of the hash.
    """
    label = f"{partition}-{ways}w{shots}s"
    if label in dataset.fixed:
        indices = dataset.fixed[label]
    else:
        members = dataset.members(partition)
        what = f"a {ways}-way {shots}-shot {partition} episode with {queries} queries per class"
        require(dataset.name, members, ways, shots + queries, what)
        indices = np.stack(
            [
                draw_indices(
                    members, ways, shots + queries, rng.generator(dataset.name, label, "episode", e)
                )
                for e in range(count)
            ]
        )
    indices = indices.astype(np.int32)
    key = digest(content, str(indices.shape), indices.tobytes())
    return Frozen(dataset.name, ways, shots, key, indices=indices)


def freeze_tasks(
    family: TaskFamily, partition: str, shots: int, queries: int, count: int
) -> Frozen:
    """Frozen regression tasks: ``count`` tasks with ``shots + queries`` points each."""
    draw: Callable[[int], np.random.Generator] = lambda e: rng.generator(  # noqa: E731
        family.name, f"{partition}-{shots}s", "episode", e
    )
    tasks = [family.sample(1, shots + queries, draw(e)) for e in range(count)]
    x, y = (np.concatenate(part) for part in zip(*tasks, strict=True))
    return Frozen(family.name, 0, shots, digest(x.tobytes(), y.tobytes()), points=(x, y))
