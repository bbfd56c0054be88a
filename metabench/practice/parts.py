"""Train, val and test folders above the classes of user data: what they say, and how it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from metabench import rng
from metabench.data.base import Partition

LEAST_CLASSES = 5
"""Classes that a part needs to be learned from, to choose by, or to be tested on."""
QUERIES = 3
"""Queries that a class needs."""


@dataclass(frozen=True)
class Parts:
    """How the parts of a folder are used.

    Attributes:
        classes: the part of each class, where parts hold different classes: class-disjoint.
        query: of each example whether it is a query, where parts hold the same classes.
        shots, queries: the most that every class has, where parts hold the same classes.
        why: what is done and why; empty where the folder has no parts.
    """

    classes: Mapping[str, Partition] = field(default_factory=dict)
    query: tuple[bool, ...] = ()
    shots: int = 0
    queries: int = 0
    why: str = ""


def use_of(labels: Sequence[str], parts: Sequence[Partition | None]) -> Parts:
    """What the parts of all examples say: other classes in each, or other examples of the same."""
    used = sorted({part for part in parts if part}, key=("train", "val", "test").index)
    names = " and ".join(f"{part}/" for part in used)
    if len(used) < 2:
        return Parts(why=f"{names} is the only part and is taken whole" if used else "")
    counts: dict[str, Counter[Partition | None]] = {label: Counter() for label in sorted(labels)}
    for label, part in zip(labels, parts, strict=True):
        counts[label][part] += 1
    if all(len(count) == 1 for count in counts.values()):
        return _of_classes({label: part for label, (part,) in counts.items() if part}, names)
    asked = used[-1]
    for label, count in counts.items():
        if count[asked] < QUERIES or count[asked] == count.total():
            return Parts(
                why=f"{names} are taken together, since class '{label}' has {count[asked]} in "
                f"{asked}/ and {count.total() - count[asked]} elsewhere, where {QUERIES} and 1 are "
                "needed"
            )
    support = {label: count.total() - count[asked] for label, count in counts.items()}
    queries = {label: count[asked] for label, count in counts.items()}
    fewest, least = min(support, key=support.__getitem__), min(queries, key=queries.__getitem__)
    return Parts(
        query=tuple(part == asked for part in parts),
        shots=support[fewest],
        queries=queries[least],
        why=f"As the folder says, support is of {' and '.join(f'{part}/' for part in used[:-1])}, "
        f"of which class '{fewest}' has the fewest, {support[fewest]}; queries are of {asked}/, of "
        f"which class '{least}' has the fewest, {queries[least]}",
    )


def _of_classes(classes: dict[str, Partition], names: str) -> Parts:
    """Parts of different classes; without a ``val``, some of ``train`` become it."""
    members = {part: [c for c, p in classes.items() if p == part] for part in ("train", "test")}
    if "val" not in classes.values():
        train = members["train"]
        order = rng.generator("own data", "val").permutation(len(train))
        for i in order[: max(LEAST_CLASSES, len(train) // 4)]:
            classes[train[i]] = "val"
    sizes = Counter(classes.values())
    if any(sizes[part] < LEAST_CLASSES for part in ("train", "val", "test")):
        return Parts(
            why=f"{names} hold different classes, but are taken together: to learn from some and "
            f"test on others, each needs {LEAST_CLASSES} (train/ {2 * LEAST_CLASSES} without val/)"
        )
    return Parts(
        classes,
        why=f"As the folder says, {sizes['train']} classes are learned from, {sizes['val']} choose "
        f"the weights and {sizes['test']} test them",
    )


def episodes(
    name: str, y: np.ndarray, parts: Parts, ways: int, shots: int, queries: int, count: int
) -> np.ndarray:
    """Episodes ``[count, ways, shots + queries]`` whose support and queries keep to their parts."""
    query = np.array(parts.query)
    rows = np.empty((count, ways, shots + queries), np.int32)
    for e in range(count):
        draw = rng.generator(name, f"parts-{ways}w{shots}s", "episode", e)
        for way, label in enumerate(draw.permutation(y.max() + 1)[:ways]):
            support, asked = (
                np.flatnonzero((y == label) & ~query),
                np.flatnonzero((y == label) & query),
            )
            rows[e, way] = [*draw.permutation(support)[:shots], *draw.permutation(asked)[:queries]]
    return rows
