"""A user's own data: images in one sub-folder per class, or texts in a table.

`metabench bench` reads it with these functions, and so do datasets of a profile
(:mod:`metabench.data.entries`).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metabench.data.base import LENGTH, LONGEST, Builder, ClassInfo, Dataset, Partition
from metabench.data.folders import ImageFile, list_images
from metabench.data.images import NONE, NotAnImage, Read, even_out, read_image, resized
from metabench.data.tables import Row, read_table
from metabench.data.text import UNKNOWN, tokenise, tokens_of
from metabench.files import InputError, digest

LEAST = 4
"""Examples that a class needs, unless more are asked for: one shot and three queries."""


@dataclass
class UserData:
    """What a folder or a file holds, and what of it was left out.

    Attributes:
        kind: what the examples are.
        examples: images uint8 ``[C, H, W]`` of any sizes, or texts.
        labels: class of each.
        skipped: ``(place, reason)`` of each file, row or class that was left out.
        notes: what else whoever owns the data should know of how it was read.
        white: what white is in images of other numbers than uint8.
        parts: the part of an image that its folder says, or None.
        pieces: word pieces of a text that are read.
        origin: the folder or file.
        least: examples that a class needs.
        small: examples of classes that are too small.
    """

    kind: Literal["image", "text"] = "image"
    examples: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    white: dict[str, float] = field(default_factory=dict)
    parts: list[Partition | None] = field(default_factory=list)
    pieces: int = LENGTH
    origin: Path | None = None
    least: int = LEAST
    small: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return f"own_{self.kind}s"

    @property
    def classes(self) -> list[str]:
        """Names, sorted."""
        return sorted(set(self.labels))

    @property
    def counts(self) -> Counter[str]:
        """Examples of each class."""
        return Counter(self.labels)

    @property
    def smallest(self) -> int:
        """Examples of the smallest class."""
        return min(self.counts.values())

    @property
    def left_out(self) -> int:
        """Files or rows that were left out, those of small classes too."""
        return len(self.skipped) - len(self.small) + self.small.total()

    @property
    def summary(self) -> str:
        """What there is, in words."""
        return f"{len(self.examples)} {self.kind}s of {len(self.classes)} classes"

    @property
    def content(self) -> str:
        """Digest of all examples and labels."""
        examples = (digest(x if isinstance(x, str) else x.tobytes()) for x in self.examples)
        return digest(self.kind, *examples, *self.labels)

    def add_class(self, label: str, examples: list[Any], place: str) -> None:
        """Take the examples of a class, or skip it where they are too few."""
        if len(examples) < self.least:
            reason = (
                f"class of {len(examples)} usable {self.kind}s, at least {self.least} are needed"
            )
            self.skipped.append((place, reason))
            self.small[label] = len(examples)
            return
        self.examples += examples
        self.labels += [label] * len(examples)

    def as_dataset(
        self, name: str, shape: tuple[int, ...], partition: Mapping[str, Partition]
    ) -> Dataset:
        """The data as arrays.

        Args:
            shape: ``(C, H, W)`` of an image; unused for texts.
            partition: of each class, by name.
        """
        classes = tuple(ClassInfo(label, name, partition[label]) for label in self.classes)
        row = {label: i for i, label in enumerate(self.classes)}
        y = np.array([row[label] for label in self.labels], dtype=np.int64)
        if self.kind == "image":
            x = resized(self.examples, shape).numpy()
        else:
            x = tokenise(self.examples, self.pieces)
        return Dataset(name, self.kind, x, y, classes)


def read_images(
    folder: Path, least: int = LEAST, side: int | None = None, origin: Path | None = None
) -> UserData:
    """Read the images that :func:`list_images` finds, or skip them with a reason.

    Skipped are files that are no image or damaged; images that stand there already, in the size in
    which they are read (support and query of one episode must not share an image); images under two
    labels (all of them: nobody knows which label is right); and classes with fewer than ``least``.
    What is lost of an image (transparency, depth, frames) is counted in ``notes``.

    Args:
        side: images are brought to this side as they are read, so that many fit into the memory;
            None: they stay as they are stored.
        origin: what to call the folder in messages, where it is a copy.

    Raises:
        InputError: no such folder, no sub-folders, or fewer than two classes are left.
    """
    listing = list_images(folder, origin)
    found = UserData(skipped=listing.skipped, notes=listing.notes, least=least)
    files: list[ImageFile] = []
    reads: list[Read] = []
    contents: dict[ImageFile, bytes] = {}

    def read(file: ImageFile, white: Mapping[str, float] = NONE) -> Read:
        one = read_image(file.path, white)
        contents[file] = _content(one.pixels)
        if side is None:
            return one
        small = resized([one.pixels], (len(one.pixels), side, side))
        return one._replace(pixels=small[0].numpy())

    for file in listing.files:
        try:
            reads.append(read(file))
            files.append(file)
        except NotAnImage as error:
            found.skipped.append((file.place, str(error)))
    found.white = even_out(reads, lambda i, white: read(files[i], white))
    found.notes += _losses(files, reads, found.white)
    first: dict[bytes, dict[str, ImageFile]] = {}  # by content and label, in the order of files
    keys = [contents[file] for file in files]
    for file, key in zip(files, keys, strict=True):
        first.setdefault(key, {}).setdefault(file.label, file)
    members: dict[str, list[tuple[np.ndarray, Partition | None]]] = {}
    for file, key, one in zip(files, keys, reads, strict=True):
        standing = first[key]
        other = next((x for label, x in standing.items() if label != file.label), None)
        same = standing[file.label]
        if same is not file:
            found.skipped.append((file.place, f"the same image as {same.place}"))
        elif other:
            reason = f"the same image as {other.place}, but labelled '{file.label}', not "
            found.skipped.append((file.place, f"{reason}'{other.label}'"))
        else:
            members.setdefault(file.label, []).append((one.pixels, file.part))
    for label in listing.classes:
        kept = members.get(label, [])
        before = len(found.examples)
        found.add_class(label, [pixels for pixels, _ in kept], f"{label}/")
        found.parts += [part for _, part in kept][: len(found.examples) - before]
    found.notes += _similar(found.counts, stripped_first=False)
    return _checked(found, origin or folder, len(listing.classes))


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


def read_texts(
    file: Path,
    text_column: str,
    label_column: str,
    separator: str = "",
    encoding: str = "",
    pieces: int = LENGTH,
    least: int = LEAST,
) -> UserData:
    """Read a table with a header, see :mod:`metabench.data.tables`; rows are kept or skipped.

    Skipped are rows that cannot be read, rows without text or label, texts of which the vocabulary
    knows no word, texts that stand there already, texts under two labels (all of them: nobody knows
    which label is right), and classes with fewer than ``least`` texts. Rows are counted from 1,
    without the header. Labels lose outer space and nothing else.

    Args:
        separator: of the columns; empty: found.
        encoding: of the file; empty: found.
        pieces: the most word pieces of a text to read; up to there, texts are compared.

    Raises:
        InputError: no such file, not a table, no such column, or fewer than two classes are left.
    """
    if text_column == label_column:
        raise InputError(f"--text-column and --label-column are both '{text_column}'")
    rows = read_table(file, text_column, label_column, separator, encoding)
    reasons = [row.reason or _lacks(row) for row in rows]
    usable = [i for i, reason in enumerate(reasons) if not reason]
    texts, labels = [row.text.strip() for row in rows], [row.label.strip() for row in rows]
    found = UserData("text", pieces=pieces, least=least)
    tokens = tokens_of([texts[i] for i in usable], pieces)
    first: dict[bytes, dict[str, int]] = {}  # by pieces and label, in the order of rows
    for i, ids in zip(usable, tokens.x, strict=True):
        first.setdefault(ids.tobytes(), {}).setdefault(labels[i], i)
    for i, ids, empty, unknown in zip(usable, tokens.x, tokens.empty, tokens.unknown, strict=True):
        standing = first[ids.tobytes()]
        earliest = next(iter(standing.values()))
        other = next((label for label in standing if label != labels[i]), None)
        if empty:
            reasons[i] = "no text"
        elif unknown:
            reasons[i] = "the English vocabulary knows none of its words"
        elif other is not None:
            row = standing[other]
            reasons[i] = (
                f"{_alike(texts[i], texts[row], ids, pieces)} row {row + 1}, but labelled "
                f"'{labels[i]}', not '{other}'"
            )
        elif i != earliest:
            reasons[i] = f"{_alike(texts[i], texts[earliest], ids, pieces)} row {earliest + 1}"
    found.skipped = [
        (f"row {i} (line {row.line})" if row.line else f"row {i}", reason)
        for i, (row, reason) in enumerate(zip(rows, reasons, strict=True), 1)
        if reason
    ]
    members: dict[str, list[str]] = {}
    for text, label, reason in zip(texts, labels, reasons, strict=True):
        if not reason:
            members.setdefault(label, []).append(text)
    for label, kept in sorted(members.items()):
        found.add_class(label, kept, f"label '{label}'")
    assert len(rows) == len(found.examples) + found.left_out, "a row that nobody accounts for"
    found.notes = tokens.remarks()
    if tokens.cut.any() and pieces < LONGEST:
        found.notes[0] += f" (--max-pieces: up to {LONGEST})"
    found.notes += _similar(Counter(rows[i].label for i in usable))
    return _checked(found, file, len(members))


def _lacks(row: Row) -> str:
    """What a row that can be read lacks to be used."""
    if not row.text.strip() or not row.label.strip():
        return "no label" if row.text.strip() else "no text"
    try:
        (row.text + row.label).encode()
    except UnicodeEncodeError:
        return "half a surrogate pair, which is no character"
    return ""


def _alike(text: str, other: str, ids: np.ndarray, pieces: int) -> str:
    """How two texts of the same word pieces ``ids`` are alike."""
    if text.casefold().split() == other.casefold().split():
        return "the same text as"
    if np.count_nonzero(ids) == pieces:
        return f"the same first {pieces} word pieces as"
    unknown = " (apart from words that the English vocabulary does not know)"
    return f"the same word pieces{unknown if UNKNOWN in ids else ''} as"


def _similar(labels: Counter[str], stripped_first: bool = True) -> list[str]:
    """Labels that may be meant to be one, with their examples."""
    notes = []
    outer = ((str.strip, "outer space are read as one"),) if stripped_first else ()
    for fold, fate in (*outer, (_folded, "case, spaces or Unicode form are kept apart")):
        groups: dict[str, list[str]] = {}
        for label in labels:
            groups.setdefault(fold(label), []).append(label)
        doubtful = [group for group in groups.values() if len(group) > 1]
        if doubtful:
            shown = [", ".join(f"'{x}' ({labels[x]})" for x in group) for group in doubtful[:3]]
            more = f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
            notes.append(f"labels that differ only in {fate}: {'; '.join(shown)}{more}")
        stripped: Counter[str] = Counter()
        for label, rows in labels.items():
            stripped[label.strip()] += rows
        labels = stripped
    return notes


def _folded(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _checked(found: UserData, where: Path, classes: int) -> UserData:
    found.origin = where.resolve()
    if len(found.classes) < 2:
        reasons = "; ".join([*by_reason(found.skipped)[:5], *found.notes])
        raise InputError(
            f"{where}: {len(found.classes)} usable class(es) of {classes}, at least 2 are "
            f"needed. {reasons}"
        )
    return found


def bright_background(images: list[np.ndarray]) -> bool:
    """Whether most images have a bright border: ink on paper, where learners expect the reverse."""
    borders = [
        np.concatenate([x[:, 0].ravel(), x[:, -1].ravel(), x[..., 0].ravel(), x[..., -1].ravel()])
        for x in images
    ]
    return float(np.mean([np.median(border) > 127 for border in borders])) > 0.5


def _refuse(raw: Path) -> Dataset:
    raise InputError("user data is a dataset of `metabench bench` only, not of a profile")


OWN_IMAGES = Builder("own_images", "image", "your own images", build=_refuse)
OWN_TEXTS = Builder("own_texts", "text", "your own texts", build=_refuse)
