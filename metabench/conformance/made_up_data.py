"""Made-up data of each kind: easy training examples and test episodes, in double precision."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from metabench import rng
from metabench.config import Training
from metabench.data.base import (
    CHARACTERS,
    SENTENCES,
    ClassInfo,
    Dataset,
    Kind,
    Partition,
    Transformation,
)
from metabench.data.sinusoid import SINUSOID
from metabench.episodes import Episodes, take
from metabench.episodes.frozen_episodes import freeze, freeze_tasks
from metabench.episodes.sampling import ArraySource, TaskSource
from metabench.learning.training import AnySource

PARTITIONS_USED: tuple[Partition, ...] = ("train", "test")
WAYS, SHOTS, QUERIES, TASKS = 3, 2, 3, 3
MANY = 75
"""Queries of a task, as in evaluation: some leaks begin above a number of them."""
DECLARED: dict[Kind, tuple[Transformation, ...]] = {"image": CHARACTERS, "text": SENTENCES}
"""What the made-up data declare to leave their labels alone."""
TRAINING = Training(ways=WAYS, shots=(SHOTS,), queries=QUERIES)


@cache
def made_up(kind: Kind, size: int = 12) -> Dataset:
    """Eight shapes, far apart; each is a training class and, with other noise, a test class.

    So a learner need only tell which shape carries which label in an episode.

    Args:
        kind: of the data.
        size: examples of each class.
    """
    shapes = 8
    made = rng.generator("conformance", kind)
    if kind == "vector":
        x = 4 * np.eye(shapes)[None, :, None] + 0.1 * made.normal(size=(2, shapes, size, shapes))
        x = x.astype(np.float32)
    elif kind == "text":  # six of the shape's own words, and two of any
        own = 200 + 20 * np.arange(shapes)[None, :, None, None]
        own = own + made.integers(0, 2, (2, shapes, size, 6))
        x = np.concatenate([own, made.integers(400, 500, (2, shapes, size, 2))], axis=-1)
        x[..., 5:][made.random((2, shapes, size)) < 0.3] = 0  # some are shorter
        x = x.astype(np.int32)
    else:
        templates = made.integers(0, 256, (shapes, 1, 1, 16, 16))
        noise = made.normal(0, 20, (2, shapes, size, 1, 16, 16))
        x = (templates + noise).clip(0, 255).astype(np.uint8)
    classes = tuple(
        ClassInfo(f"{partition}{i}", "made up", partition)
        for partition in PARTITIONS_USED
        for i in range(shapes)
    )
    y = np.repeat(np.arange(2 * shapes), size)
    x, allowed = x.reshape(-1, *x.shape[3:]), DECLARED.get(kind, ())
    return Dataset("conformance", kind, x, y, classes, augmentation=allowed)


class _Arrays(ArraySource):
    """Training examples in double precision."""

    def gather(self, indices: np.ndarray) -> Tensor:
        """Network inputs of the given rows."""
        x = super().gather(indices)
        return x.double() if x.is_floating_point() else x


class _Tasks(TaskSource):
    """Training tasks in double precision."""

    def _points(self, step: int, tasks: int, points: int) -> tuple[Tensor, Tensor]:
        x, y = super()._points(step, tasks, points)
        return x.double(), y.double()


@cache
def source_of(kind: Kind) -> AnySource:
    """What a learner of this kind of data is trained on."""
    device = torch.device("cpu")
    if kind == "regression":
        assert SINUSOID.family is not None
        return _Tasks(SINUSOID.family, 0, device)
    return _Arrays(made_up(kind), 0, device)


@cache
def easy_episodes(
    kind: Kind, tasks: int, ways: int, shots: int, queries: int = QUERIES
) -> Episodes:
    """Test episodes whose queries come class by class: who goes by their order is seen to."""
    if kind == "regression":
        assert SINUSOID.family is not None
        points = queries if queries > QUERIES else 5
        frozen, table = freeze_tasks(SINUSOID.family, "test", 6, points, tasks), None
    else:
        dataset = made_up(kind, max(12, shots + queries))
        frozen = freeze(dataset, "test", ways, shots, queries, tasks, "")
        table = torch.from_numpy(dataset.x)
    e, labels = frozen.episodes(slice(0, tasks), table)
    e = replace(e, query_y=labels)
    if table is None:
        e = replace(e, support_y=e.support_y.double(), query_y=e.query_y.double())
    else:
        e = e.reorder_queries(labels.argsort(dim=1, stable=True))
    e = e.map(lambda x: x.double() if x.is_floating_point() else x)
    return replace(e, augmentation=DECLARED.get(kind, ()))


@cache
def many_queries(kind: Kind, ways: int) -> Episodes:
    """Two tasks with :data:`MANY` queries in random order, of each class another number of them."""
    if kind == "regression":
        return easy_episodes(kind, 2, 0, 0, MANY)
    counts = [MANY * (c + 1) * 2 // (ways * (ways + 1)) for c in range(ways)]
    counts[-1] += MANY - sum(counts)
    most = max(counts)
    e = easy_episodes(kind, 2, ways, SHOTS, most)
    rows = [  # the class with the most is another one in each task
        [c * most + i for c in range(ways) for i in range(counts[(c + t) % ways])] for t in range(2)
    ]
    shuffled = permutations("many", tasks=2, size=MANY)
    return e.reorder_queries(torch.tensor(rows).gather(1, shuffled))


def permutations(*name: str | int, tasks: int, size: int) -> Tensor:
    """A random permutation of ``size`` for every task, ``[T, size]``; none is the identity."""
    drawn = torch.rand(tasks, size, generator=rng.torch_generator("conformance", *name)).argsort(1)
    same = (drawn == torch.arange(size)).all(1, keepdim=True)
    return torch.where(same, drawn.roll(1, dims=1), drawn)


def with_support(episodes: Episodes, rows: Tensor) -> Episodes:
    """The episodes with the support rows ``[T, M]``, in that order."""
    return replace(
        episodes, support_x=take(episodes.support_x, rows), support_y=take(episodes.support_y, rows)
    )
