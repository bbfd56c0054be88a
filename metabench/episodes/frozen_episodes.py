"""The frozen evaluation episodes: drawn once, hashed, the same for every method."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metabench import rng
from metabench.data.base import Dataset, TaskFamily
from metabench.data.formats import to_input
from metabench.episodes import Episodes, gather
from metabench.episodes.sampling import assemble, draw_indices, require, split_points
from metabench.files import DAMAGED, InputError, atomic, digest, maker

VERSION = 2
"""Of the files. In those of version 1 queries were asked class by class."""


@dataclass(frozen=True)
class FrozenEpisodes:
    """Evaluation episodes that every method sees, and their content hash.

    Attributes:
        content: digest of the dataset that ``indices`` point into; empty for regression.
        indices: ``[E, ways, shots + queries]`` rows of the dataset; None for regression.
        order: ``[E, ways * queries]`` the order in which queries are asked, by their places in
            ``indices[:, :, shots:]``; None for regression, whose points are drawn in random order.
        points: ``(x [E, N, ·], y [E, N, ·])`` for regression.
        hash: digest of all of this; empty: it is computed.
    """

    dataset: str
    ways: int
    shots: int
    content: str = ""
    indices: np.ndarray | None = None
    order: np.ndarray | None = None
    points: tuple[np.ndarray, np.ndarray] | None = None
    hash: str = ""

    def __post_init__(self) -> None:
        if not self.hash:
            object.__setattr__(self, "hash", self._digest())

    def _digest(self) -> str:
        """Digest of what the episodes consist of; their dataset counts by its content alone."""
        parts: list[bytes | str | Path] = [f"{self.ways}w{self.shots}s", self.content]
        for name, array in self._arrays().items():
            parts += [f"{name} {array.dtype} {array.shape}", array.tobytes()]
        return digest(*parts)

    def _arrays(self) -> dict[str, np.ndarray]:
        if self.points is not None:
            return {"x": self.points[0], "y": self.points[1]}
        assert self.indices is not None and self.order is not None
        return {"indices": self.indices, "order": self.order}

    def __len__(self) -> int:
        array = self.indices if self.indices is not None else self.points[0]  # type: ignore[index]
        return len(array)

    @property
    def queries(self) -> int:
        """Queries per class (regression: per task)."""
        array = self.indices if self.indices is not None else self.points[0]  # type: ignore[index]
        size = array.shape[2] if self.indices is not None else array.shape[1]
        return int(size) - self.shots

    def episodes(self, tasks: slice, table: Tensor | None) -> tuple[Episodes, Tensor]:
        """Episodes ``tasks`` as a method may see them, and the labels of their queries apart.

        The queries are in their frozen order, ``query_y`` is zeros, and no tensor shares memory
        with one that holds the labels, or the queries class by class.

        Args:
            tasks: which episodes.
            table: inputs or features of all examples, ``[M, ...]``; None for regression.
        """
        if self.points is not None:
            x, y = (torch.from_numpy(p[tasks].copy()) for p in self.points)
            known = split_points(x, y, self.shots)
            known = replace(known, support_y=known.support_y.clone())
        else:
            assert self.indices is not None and self.order is not None and table is not None
            rows = torch.from_numpy(self.indices[tasks].astype(np.int64)).to(table.device)
            order = torch.from_numpy(self.order[tasks].astype(np.int64)).to(table.device)
            known = assemble(to_input(gather(table, rows)), self.shots).reorder_queries(order)
            # of one shot it is a view of the whole episode, in which queries come class by class
            known = replace(known, support_x=known.support_x.contiguous())
        return replace(known, query_y=torch.zeros_like(known.query_y)), known.query_y

    def save(self, path: Path) -> None:
        """Write as ``.npz``, atomically."""
        header = {
            "version": VERSION,
            "dataset": self.dataset,
            "ways": self.ways,
            "shots": self.shots,
            "content": self.content,
            "hash": self.hash,
        }
        with atomic(path) as temporary:
            np.savez(temporary, **self._arrays(), **header)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> FrozenEpisodes:
        """Read what :meth:`save` wrote, and compute its hash again.

        Raises:
            InputError: missing, damaged, changed since it was written, or of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            if (version := int(data.get("version", 1))) != VERSION:
                raise InputError(
                    f"{path}: episodes of version {version}, this program reads {VERSION}. {_fix()}"
                )
            drawn = "x" in data
            found = FrozenEpisodes(
                dataset=str(data["dataset"]),
                ways=int(data["ways"]),
                shots=int(data["shots"]),
                content=str(data["content"]),
                indices=None if drawn else data["indices"],
                order=None if drawn else data["order"],
                points=(data["x"], data["y"]) if drawn else None,
            )
            unchanged = found.hash == str(data["hash"])
        except DAMAGED as error:
            raise InputError(f"{path}: damaged or missing episodes ({error}). {_fix()}") from error
        if not unchanged:
            raise InputError(
                f"{path}: the episodes are not those of their hash, so the file was changed after "
                f"it was written. {_fix()}"
            )
        return found


def _fix() -> str:
    return f"Delete it and run {maker()}: the same episodes are drawn again."


def freeze(
    dataset: Dataset,
    partition: str,
    ways: int,
    shots: int,
    queries: int,
    count: int,
    content: str,
    draws: str = "",
    without: Collection[str] = (),
) -> FrozenEpisodes:
    """Draw ``count`` episodes once and for all, or take the published ones.

    Each draw is named by dataset, partition, ways, shots and episode number, never by a method; a
    longer list begins with the shorter one. So is the order in which an episode's queries are
    asked, also of published ones.

    Args:
        content: digest of the dataset's arrays; part of the hash.
        draws: name of the draws, so that a partition has other episodes for another purpose; by
            default the partition's.
        without: names of classes that are left out, unless too few others are there.
    """
    label = f"{draws or partition}-{ways}w{shots}s"
    if label in dataset.fixed:
        indices = dataset.fixed[label]
    else:
        members = dataset.members(partition, without)
        if len(members) < ways:
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
    asked = ways * (indices.shape[2] - shots)
    order = [
        rng.generator(dataset.name, label, "queries", e).permutation(asked)
        for e in range(len(indices))
    ]
    return FrozenEpisodes(
        dataset.name,
        ways,
        shots,
        content,
        indices=indices.astype(np.int32),
        order=np.array(order, np.int32).reshape(len(indices), asked),
    )


def freeze_tasks(
    family: TaskFamily, partition: str, shots: int, queries: int, count: int
) -> FrozenEpisodes:
    """Freeze ``count`` regression tasks with ``shots + queries`` points each."""
    draw: Callable[[int], np.random.Generator] = lambda e: rng.generator(  # noqa: E731
        family.name, f"{partition}-{shots}s", "episode", e
    )
    tasks = [family.sample(1, shots + queries, draw(e)) for e in range(count)]
    x, y = (np.concatenate(part) for part in zip(*tasks, strict=True))
    return FrozenEpisodes(family.name, 0, shots, points=(x, y))
