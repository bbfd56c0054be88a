"""What a dataset is: arrays in memory, classes with groups, class-disjoint partitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel

from metabench.files import DAMAGED, InputError, atomic, digest, read_record, write_json

Partition = Literal["train", "val", "test"]
PARTITIONS: tuple[Partition, ...] = get_args(Partition)
Kind = Literal["image", "text", "vector", "regression"]
Transformation = Literal[
    "crop", "flip", "light", "contrast", "colour", "shift", "rotation", "scale", "pieces"
]
PHOTOGRAPHS: tuple[Transformation, ...] = ("crop", "flip", "light", "contrast", "colour")
CHARACTERS: tuple[Transformation, ...] = ("shift", "rotation", "scale")
SENTENCES: tuple[Transformation, ...] = ("pieces",)
"""What leaves the labels of such data alone (:mod:`metabench.data.augmentation`)."""
LENGTH, LONGEST = 256, 512
"""Word pieces of a text that are read: what MiniLM was made for, and the most that it takes."""


@dataclass(frozen=True)
class ClassInfo:
    """One class: its name, the group it belongs to (alphabet, script, domain), its partition."""

    name: str
    group: str
    partition: Partition


class Header(BaseModel):
    """``classes.json``: what a dataset is, beside its arrays.

    Attributes:
        digest: of all content (see :meth:`Dataset.save`).
    """

    name: str
    kind: Kind
    digest: str
    classes: tuple[ClassInfo, ...]


def header_of(folder: Path) -> Header:
    """The header of the dataset in ``folder``.

    Raises:
        InputError: missing or damaged.
    """
    return read_record(folder / "classes.json", Header)


@dataclass(frozen=True)
class Dataset:
    """Examples of a classification dataset as arrays.

    Attributes:
        name: name in the registry.
        kind: what ``x`` holds: ``image`` uint8 ``[N, C, H, W]`` (ink or content is bright);
            ``text`` int32 token ids ``[N, L]`` padded with 0; ``vector`` float32 ``[N, D]``.
        y: int64 ``[N]``, an index into ``classes``.
        classes: name, group and partition of every class.
        fixed: published episodes, by ``<partition>-<ways>w<shots>s``: example indices
            ``[E, ways, shots + queries]``.
        augmentation: as its :class:`Builder` declares; not stored with the arrays.
    """

    name: str
    kind: Kind
    x: np.ndarray
    y: np.ndarray
    classes: tuple[ClassInfo, ...]
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    augmentation: tuple[Transformation, ...] = ()
    split_anew: Callable[[Path, int], Dataset] | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise InputError(
                f"dataset {self.name}: {len(self.x)} examples but {len(self.y)} labels"
            )
        counts = np.bincount(self.y, minlength=len(self.classes))
        if len(counts) > len(self.classes):
            raise InputError(f"dataset {self.name}: label {self.y.max()} has no entry in classes")
        empty = [c.name for c, n in zip(self.classes, counts, strict=True) if n == 0]
        if empty:
            raise InputError(
                f"dataset {self.name}: class '{empty[0]}' has no examples"
                + (f" (and {len(empty) - 1} more)" if len(empty) > 1 else "")
                + ". Remove the class or add examples."
            )

    def class_ids(self, partition: str) -> np.ndarray:
        """Indices of the classes of ``partition``."""
        return np.array([i for i, c in enumerate(self.classes) if c.partition == partition], int)

    def members(self, partition: str, without: Collection[str] = ()) -> list[np.ndarray]:
        """Example indices of each class of ``partition``, in the order of ``class_ids``.

        Args:
            without: names of classes that are left out.
        """
        order = np.argsort(self.y, kind="stable")
        starts = np.searchsorted(self.y[order], np.arange(len(self.classes) + 1))
        kept = [i for i in self.class_ids(partition) if self.classes[i].name not in without]
        return [order[starts[i] : starts[i + 1]] for i in kept]

    def save(self, folder: Path) -> str:
        """Write ``x.npy``, ``y.npy``, ``fixed.npz`` and, last, ``classes.json``.

        Returns:
            The digest of all content: examples, labels, classes with partitions, fixed episodes.
        """
        (folder / "classes.json").unlink(missing_ok=True)  # a save cut short is no dataset
        for name, array in {"x.npy": self.x, "y.npy": self.y}.items():
            with atomic(folder / name) as temporary:
                np.save(temporary, array, allow_pickle=False)
        with atomic(folder / "fixed.npz") as temporary:
            np.savez(temporary, allow_pickle=False, **self.fixed)
        classes = [asdict(c) for c in self.classes]
        content = digest(
            folder / "x.npy",
            folder / "y.npy",
            json.dumps([self.name, self.kind, classes], sort_keys=True),
            *(
                part
                for k, v in sorted(self.fixed.items())
                for part in (k, str(v.shape), v.tobytes())
            ),
        )
        write_json(
            folder / "classes.json",
            {"name": self.name, "kind": self.kind, "digest": content, "classes": classes},
        )
        return content

    @staticmethod
    def load(folder: Path) -> Dataset:
        """Read what :meth:`save` wrote; ``x`` is memory-mapped.

        Raises:
            InputError: a file is missing, damaged, or does not belong to the others.
        """
        header = header_of(folder)
        try:
            x = np.load(folder / "x.npy", mmap_mode="r", allow_pickle=False)
            y = np.load(folder / "y.npy", allow_pickle=False)
            with np.load(folder / "fixed.npz", allow_pickle=False) as fixed:
                episodes = {name: fixed[name] for name in fixed.files}
        except DAMAGED as error:
            raise InputError(
                f"{folder}: damaged or missing array ({error}). Delete the folder and run "
                "`dvc repro` again."
            ) from error
        return Dataset(header.name, header.kind, x, y, header.classes, episodes)


@dataclass(frozen=True)
class TaskFamily:
    """A distribution over regression tasks ``x -> y``.

    Attributes:
        name: name in the registry.
        inputs, outputs: sizes of ``x`` and ``y``.
        sample: ``(tasks, points, rng) -> x [T, N, inputs], y [T, N, outputs]`` float32, noise-free.
    """

    name: str
    inputs: int
    outputs: int
    sample: Callable[[int, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class RemoteFile:
    """A public file: where it is, what it must hash to, and its name in a mirror folder.

    ``hash`` is hex SHA-256, or ``md5:`` and hex where the publisher gives nothing else.
    """

    url: str
    hash: str
    name: str


@dataclass(frozen=True)
class Builder:
    """How a dataset comes to be. One per file in ``metabench/data``, registered by name.

    Attributes:
        name: name in the registry.
        kind: see :class:`Dataset`.
        citation: paper or source.
        build: ``(raw folder) -> Dataset`` (``None`` for regression).
        files: what to download into the raw folder first; empty for embedded data.
        family: the task distribution of a regression dataset.
        mirror: sub-folder of ``METABENCH_MIRROR`` that holds the files (default: ``name``).
        augmentation: what leaves the labels alone; by default nothing.
        split_anew: ``(raw folder, split) -> Dataset``, for a dataset without a published split:
            split 0 is that of ``build``, the others are drawn by number.
        imagenet: the classes that ImageNet-1k has too (:mod:`metabench.data.imagenet`): ``none``,
            ``all``, the name of a list or a CSV file; None: nobody has looked.

    Raises:
        InputError: an augmentation that there is not, or not for this kind of data.
    """

    name: str
    kind: Kind
    citation: str
    build: Callable[[Path], Dataset] | None = None
    files: tuple[RemoteFile, ...] = ()
    family: TaskFamily | None = None
    mirror: str | None = None
    augmentation: tuple[Transformation, ...] = ()
    split_anew: Callable[[Path, int], Dataset] | None = None
    imagenet: str | None = None

    def __post_init__(self) -> None:
        of_images = tuple(name for name in get_args(Transformation) if name != "pieces")
        known = {"image": of_images, "text": SENTENCES}.get(self.kind, ())
        for name in self.augmentation:
            if name not in known:
                raise InputError(
                    f"dataset {self.name}: augmentation: '{name}' is not one for the kind "
                    f"{self.kind}. Choose of {', '.join(known) or 'none: leave it out'}."
                )
