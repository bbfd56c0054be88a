"""The frozen evaluation episodes: drawn once, hashed, the same for every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metabench import rng
from metabench.data.base import Dataset, TaskFamily
from metabench.data.formats import to_input
from metabench.episodes import Episodes
from metabench.episodes.sampling import assemble, draw_indices, require, split_points
from metabench.files import DAMAGED, InputError, atomic, digest


@dataclass(frozen=True)
class FrozenEpisodes:
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
    def load(path: Path) -> FrozenEpisodes:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            return FrozenEpisodes(
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
) -> FrozenEpisodes:
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
    return FrozenEpisodes(dataset.name, ways, shots, key, indices=indices)


def freeze_tasks(
    family: TaskFamily, partition: str, shots: int, queries: int, count: int
) -> FrozenEpisodes:
    """FrozenEpisodes regression tasks: ``count`` tasks with ``shots + queries`` points each."""
    draw: Callable[[int], np.random.Generator] = lambda e: rng.generator(  # noqa: E731
        family.name, f"{partition}-{shots}s", "episode", e
    )
    tasks = [family.sample(1, shots + queries, draw(e)) for e in range(count)]
    x, y = (np.concatenate(part) for part in zip(*tasks, strict=True))
    return FrozenEpisodes(family.name, 0, shots, digest(x.tobytes(), y.tobytes()), points=(x, y))
