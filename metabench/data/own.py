"""A user's own data: images in one sub-folder per class, or texts in a CSV file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from metabench.data.base import Builder, Dataset
from metabench.data.images import decode
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
    """

    kind: Literal["image", "text"] = "image"
    examples: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

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
    found = OwnData()
    seen: dict[bytes, str] = {}
    for name in names:
        kept: list[np.ndarray] = []
        for path in sorted((folder / name).rglob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            where = path.relative_to(folder).as_posix()
            try:
                image = decode(path)
            except ValueError as error:
                found.skipped.append((where, str(error)))
                continue
            content = hashlib.blake2b(repr(image.shape).encode() + image.tobytes()).digest()
            if content in seen:
                found.skipped.append((where, f"the same image as {seen[content]}"))
                continue
            seen[content] = where
            kept.append(image)
        found.add_class(name, kept, f"{name}/")
    return _checked(found, folder, len(names))


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
        reasons = "; ".join(f"{place}: {reason}" for place, reason in found.skipped[:5])
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
