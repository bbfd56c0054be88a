"""A user's own images: one sub-folder per class, any format that PIL reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metabench.data.base import Builder, Dataset
from metabench.data.images import UNREADABLE, decode
from metabench.files import InputError

NAME = "own_images"
LEAST = 4
"""Examples that a class needs: one shot and three queries."""


@dataclass
class OwnImages:
    """What a folder holds, and what of it was left out.

    Attributes:
        images: uint8 ``[C, H, W]``, of any sizes.
        labels: class of each.
        skipped: ``(path below the folder, reason)`` of each file or class that was left out.
    """

    images: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names, sorted."""
        return sorted(set(self.labels))

    @property
    def smallest(self) -> int:
        """Examples of the smallest class."""
        return min(self.labels.count(name) for name in self.classes)


def read_images(folder: Path) -> OwnImages:
    """Read ``folder/<class>/**``; what cannot be used is skipped with a reason.

    Skipped are files that are no image or damaged, images that stand there already (support and
    query of one episode must not share an image), and classes with fewer than ``LEAST`` images.

    Raises:
        InputError: no such folder, no sub-folders, or fewer than two classes are left.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. --images takes one with a sub-folder a class.")
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise InputError(f"{folder}: has no sub-folders. Put the images of each class into one.")
    found = OwnImages()
    seen: dict[bytes, str] = {}
    for name in names:
        kept: list[np.ndarray] = []
        for path in sorted((folder / name).rglob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            where = path.relative_to(folder).as_posix()
            try:
                image = decode(path)
            except UNREADABLE as error:
                found.skipped.append((where, f"not a readable image ({_first_line(error)})"))
                continue
            content = hashlib.blake2b(repr(image.shape).encode() + image.tobytes()).digest()
            if content in seen:
                found.skipped.append((where, f"the same image as {seen[content]}"))
                continue
            seen[content] = where
            kept.append(image)
        if len(kept) < LEAST:
            reason = f"class of {len(kept)} usable images, at least {LEAST} are needed"
            found.skipped.append((f"{name}/", reason))
            continue
        found.images += kept
        found.labels += [name] * len(kept)
    if len(found.classes) < 2:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in found.skipped[:5])
        raise InputError(
            f"{folder}: {len(found.classes)} usable class(es) of {len(names)}, at least 2 are "
            f"needed. {reasons}"
        )
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def bright_background(images: list[np.ndarray]) -> bool:
    """Whether most images have a bright border: ink on paper, where learners expect the reverse."""
    borders = [
        np.concatenate([x[:, 0].ravel(), x[:, -1].ravel(), x[..., 0].ravel(), x[..., -1].ravel()])
        for x in images
    ]
    return float(np.mean([np.median(border) > 127 for border in borders])) > 0.5


def _refuse(raw: Path) -> Dataset:
    raise InputError(f"dataset {NAME}: made by `metabench bench --images FOLDER`, not by a profile")


OWN_IMAGES = Builder(NAME, "image", "your own images", build=_refuse)
