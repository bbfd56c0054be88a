"""A user's own data: images in one sub-folder per class, or texts in a CSV file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from metabench.data.base import Builder, Dataset, Partition
from metabench.data.folders import ImageFile, list_images
from metabench.data.images import NotAnImage, Read, even_out, read_image
from metabench.data.text import tokenise
from metabench.files import InputError

LEAST = 4
"""Examples that a class needs: one shot and three queries."""


@dataclass
class OwnData:
    """What a folder or a file holds, and what of it was left out.

    Attributes:
        kind: what the examples are.
        examples: images uint8 ``[C, H, W]`` of any sizes, or texts.
        labels: class of each.
        skipped: ``(place, reason)`` of each file, row or class that was left out.
        notes: what else whoever owns the data should know of how it was read.
        white: what white is in images of other numbers than uint8.
        parts: the part of an image that its folder says, or None.
    """

    kind: Literal["image", "text"] = "image"
    examples: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    white: dict[str, float] = field(default_factory=dict)
    parts: list[Partition | None] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return f"own_{self.kind}s"

    @property
    def classes(self) -> list[str]:
        """Names, sorted."""
        return sorted(set(self.labels))

    @property
    def smallest(self) -> int:
        """Examples of the smallest class."""
        return min(self.labels.count(name) for name in self.classes)

    def add_class(self, label: str, examples: list[Any], place: str) -> None:
        """Take the examples of a class, or skip it where they are too few."""
        if len(examples) < LEAST:
            reason = f"class of {len(examples)} usable {self.kind}s, at least {LEAST} are needed"
            self.skipped.append((place, reason))
            return
        self.examples += examples
        self.labels += [label] * len(examples)


def read_images(folder: Path) -> OwnData:
    """Read the images of :func:`metabench.data.folders.list_images`, or skip them with a reason.

    Skipped are files that are no image or damaged; images that stand there already, in the size in
    which they are read (support and query of one episode must not share an image); images under two
    labels (all of them: nobody knows which label is right); and classes with fewer than ``LEAST``.
    What is lost of an image (transparency, depth, frames) is counted in ``notes``.

    Raises:
        InputError: no such folder, no sub-folders, or fewer than two classes are left.
    """
    listing = list_images(folder)
    found = OwnData(skipped=listing.skipped, notes=listing.notes)
    files, reads = [], []
    for file in listing.files:
        try:
            reads.append(read_image(file.path))
            files.append(file)
        except NotAnImage as error:
            found.skipped.append((file.place, str(error)))
    found.white = even_out(reads, lambda i, white: read_image(files[i].path, white))
    found.notes += _losses(files, reads, found.white)
    first: dict[bytes, dict[str, ImageFile]] = {}  # by content and label, in the order of files
    keys = [_content(read.pixels) for read in reads]
    for file, key in zip(files, keys, strict=True):
        first.setdefault(key, {}).setdefault(file.label, file)
    members: dict[str, list[tuple[np.ndarray, Partition | None]]] = {}
    for file, key, read in zip(files, keys, reads, strict=True):
        standing = first[key]
        other = next((x for label, x in standing.items() if label != file.label), None)
        same = standing[file.label]
        if same is not file:
            found.skipped.append((file.place, f"the same image as {same.place}"))
        elif other:
            reason = f"the same image as {other.place}, but labelled '{file.label}', not "
            found.skipped.append((file.place, f"{reason}'{other.label}'"))
        else:
            members.setdefault(file.label, []).append((read.pixels, file.part))
    for label in listing.classes:
        kept = members.get(label, [])
        before = len(found.examples)
        found.add_class(label, [pixels for pixels, _ in kept], f"{label}/")
        found.parts += [part for _, part in kept][: len(found.examples) - before]
    return _checked(found, folder, len(listing.classes))


def _content(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def _losses(files: list[ImageFile], reads: list[Read], white: Mapping[str, float]) -> list[str]:
    """What was lost of how many images, and which; what white was taken for."""
    lossy: dict[str, list[str]] = {}
    for file, read in zip(files, reads, strict=True):
        for loss in read.losses:
            lossy.setdefault(loss, []).append(file.place)
    notes = [
        f"{len(places)} of {len(files)} images are {loss} ({_some(places)})"
        for loss, places in lossy.items()
    ]
    for kind, value in white.items():
        deep = sum(read.white is not None and read.white[0] == kind for read in reads)
        notes.append(
            f"{deep} of {len(files)} images hold {kind} numbers, of which {value:g} is white"
        )
    return notes


def by_reason(skipped: list[tuple[str, str]]) -> list[str]:
    """What was left out and why, a line for each reason."""
    places: dict[str, list[str]] = {}
    for place, reason in skipped:
        places.setdefault(reason, []).append(place)
    return [f"{_some(found)}: {reason}" for reason, found in places.items()]


def _some(places: list[str]) -> str:
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(places[:3]) + more


def read_texts(file: Path, text_column: str, label_column: str) -> OwnData:
    """Read a CSV file (``.tsv``: tabs) with a header; rows that cannot be used are skipped.

    Skipped are rows of another number of fields than the header, rows without text or label, texts
    that stand there already (to a learner: in the same word pieces), and classes with fewer than
    ``LEAST`` texts.

    Raises:
        InputError: no such file, not a CSV file in UTF-8, no such column, or fewer than two classes
            are left.
    """
    found = OwnData("text")

    def malformed(fields: list[str]) -> None:
        start = " ".join(fields)[:40]
        found.skipped.append((f"'{start}…'", f"a row of {len(fields)} fields"))

    try:
        rows = pd.read_csv(
            file, sep="\t" if file.suffix == ".tsv" else ",", dtype=str, encoding="utf-8-sig",
            keep_default_na=False, index_col=False, engine="python", on_bad_lines=malformed,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{file}: not a CSV file in UTF-8 ({_first_line(error)})") from error
    for option, column in (("--text-column", text_column), ("--label-column", label_column)):
        if column not in rows.columns:
            raise InputError(
                f"{file}: has no column '{column}' ({option}). Columns: {', '.join(rows.columns)}"
            )
    texts, labels = rows[text_column].fillna("").str.strip(), rows[label_column].fillna("")
    places = [f"row {i + 1}" for i in range(len(rows))]
    seen: dict[bytes, str] = {}
    members: dict[str, list[str]] = {}
    for place, text, label, pieces in zip(
        places, texts, labels.str.strip(), tokenise(list(texts)), strict=True
    ):
        if not text or not label:
            found.skipped.append((place, f"no {'label' if text else 'text'}"))
        elif pieces.tobytes() in seen:
            found.skipped.append((place, f"the same text as {seen[pieces.tobytes()]}"))
        else:
            seen[pieces.tobytes()] = place
            members.setdefault(label, []).append(text)
    for label, kept in sorted(members.items()):
        found.add_class(label, kept, f"label '{label}'")
    return _checked(found, file, len(members))


def _checked(found: OwnData, where: Path, classes: int) -> OwnData:
    if len(found.classes) < 2:
        reasons = "; ".join([*by_reason(found.skipped)[:5], *found.notes])
        raise InputError(
            f"{where}: {len(found.classes)} usable class(es) of {classes}, at least 2 are "
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
    raise InputError("own data is a dataset of `metabench bench` only, not of a profile")


OWN_IMAGES = Builder("own_images", "image", "your own images", build=_refuse)
OWN_TEXTS = Builder("own_texts", "text", "your own texts", build=_refuse)
