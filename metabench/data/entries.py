"""Data of one's own as datasets of a profile: the entries of ``datasets`` in ``params.yaml``.

They are read as `metabench bench` reads them (:mod:`metabench.data.own`), and take part in a
profile as any dataset does.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from metabench import rng
from metabench.config.messages import nearest
from metabench.config.own_data import WORDS, OwnData, Shares
from metabench.data.base import PARTITIONS, Builder, Dataset, Partition, Transformation
from metabench.data.download import MIRROR, mirrored
from metabench.data.folders import THUMBNAILS, list_images
from metabench.data.imagenet import is_ours, listed, lists
from metabench.data.own import UserData, bright_background, by_reason, read_images, read_texts
from metabench.data.tables import read_table
from metabench.files import InputError, digest, once

_log = logging.getLogger(__name__)
SHOWN = 10
"""Reasons for which something is left out that the log names."""


def own_builder(name: str, entry: OwnData, root: Path = Path()) -> Builder:
    """How a dataset of one's own comes to be.

    Raises:
        InputError: an augmentation that there is not.
    """
    build = partial(_build, name, entry, root)
    return Builder(
        name,
        entry.kind,
        f"your own: {entry.path}",
        build,
        augmentation=cast(tuple[Transformation, ...], entry.augmentation),
        split_anew=build if isinstance(entry.partition, Shares) else None,
        imagenet=_imagenet(entry, root),
    )


def files_of(name: str, entry: OwnData, root: Path = Path()) -> dict[str, Path]:
    """The files that an entry's content is of, by what they are to it: places, not paths.

    Raises:
        InputError: one is not there, or a folder is none of classes.
    """
    with _about(name):
        path = _found(entry.path, root)
        found = {"data": path}
        if path.is_dir():
            found = {file.place: file.path for file in list_images(path).files}
        if entry.partition_file:
            found["partition"] = _named(entry.partition_file, root, "partition", WORDS)
        if entry.imagenet and not is_ours(entry.imagenet):  # needed later, no part of the arrays
            _named(entry.imagenet, root, "imagenet", lists())
        return found


def fingerprint(name: str, entry: OwnData, root: Path = Path()) -> dict[str, Any]:
    """Digest of all that an entry's arrays are made of: a move of the files changes nothing.

    Raises:
        InputError: see :func:`files_of`.
    """
    files = files_of(name, entry, root).items()
    content = digest(*(part for place, path in files for part in (place, once(digest, path))))
    return {"content": content, "reading": entry.reading()}


def _build(name: str, entry: OwnData, root: Path, raw: Path, split: int = 0) -> Dataset:
    """Arrays of an entry; what is left out, and what is doubtful, is logged.

    Raises:
        InputError: it cannot be read, has a class without examples, or the partition does not fit.
    """
    with _about(name):
        data = _read(entry, _found(entry.path, root), raw)
        for line in (*by_reason(data.skipped)[:SHOWN], *data.notes):
            _log.warning("%s: %s", name, _with_fields(line))
        if empty := [label for label, count in data.small.items() if count == 0]:
            raise InputError(
                f"{entry.path}: class '{empty[0]}' has no usable {entry.kind}s. Add some, or "
                f"remove it. {'; '.join(by_reason(data.skipped)[:3])}"
            )
        if entry.imagenet and not is_ours(entry.imagenet):
            path = _found(entry.imagenet, root)
            _require_known(path, listed(str(path)), data)
        shares = isinstance(entry.partition, Shares)
        partition = drawn(name, data, entry, split) if shares else _given(data, entry, root)
        colour = 3 if any(len(x) == 3 for x in data.examples if entry.images) else 1
        found = data.as_dataset(name, (colour, entry.size, entry.size), partition)
    if entry.invert:
        np.subtract(255, found.x, out=found.x)
    elif entry.images and colour == 1 and bright_background(data.examples):
        _log.warning(
            "%s: most images are dark on bright; glyphs, digits and Omniglot are bright on dark. "
            "To use it with these, set invert: true",
            name,
        )
    return found


def _read(entry: OwnData, path: Path, raw: Path) -> UserData:
    if entry.texts is not None:
        return read_texts(
            path,
            entry.text_column,
            entry.label_column,
            entry.separator,
            entry.encoding,
            entry.max_pieces,
            entry.least,
        )
    if path.is_dir():
        return read_images(path, entry.least, entry.size)
    raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=raw) as folder:
        return read_images(_unpacked(path, Path(folder)), entry.least, entry.size, path)


def _unpacked(path: Path, folder: Path) -> Path:
    """Where in ``folder`` the classes of a zip are: often all are in one folder of its name.

    Raises:
        InputError: it is no zip, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError(
            f"{path}: neither a folder nor a zip that can be unpacked ({error}). Give a folder "
            "with a sub-folder for each class, or a zip of such."
        ) from error
    inside = _visible(folder)
    below = _visible(inside[0]) if len(inside) == 1 and inside[0].is_dir() else []
    return inside[0] if below and all(p.is_dir() for p in below) else folder


def _visible(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if not p.name.startswith("."))
    return [p for p in found if p.name.casefold() not in THUMBNAILS]


def drawn(name: str, data: UserData, entry: OwnData, split: int) -> dict[str, Partition]:
    """Shares of the classes, drawn by the dataset's name and the split.

    Raises:
        InputError: a share is of less than one class, or nothing is left.
    """
    assert isinstance(entry.partition, Shares)
    classes, asked = data.classes, {"test": entry.partition.test, "val": entry.partition.val}
    sizes = {part: round(share * len(classes)) for part, share in asked.items()}
    for part, share in asked.items():
        if share and not sizes[part]:
            raise InputError(
                f"partition.{part}: {share:g} of {len(classes)} classes is none. Raise it."
            )
    if sum(sizes.values()) > len(classes):
        raise InputError(
            f"partition: test and val are {sum(sizes.values())} classes, there are {len(classes)}. "
            "Lower the shares."
        )
    found: dict[str, Partition] = dict.fromkeys(classes, "train")
    order = rng.generator(name, "partition", split).permutation(len(classes))
    for i, row in enumerate(order[: sum(sizes.values())]):
        found[classes[row]] = "test" if i < sizes["test"] else "val"
    return found


def _given(data: UserData, entry: OwnData, root: Path) -> dict[str, Partition]:
    """The partition that is not drawn: of all classes, of their folders, or of a file.

    Raises:
        InputError: it does not say of each class where it belongs.
    """
    if entry.partition == "all-test":
        return dict.fromkeys(data.classes, "test")
    if entry.partition == "folders":
        return _of_folders(data)
    path = _found(str(entry.partition), root)
    found: dict[str, Partition] = {}
    for row in read_table(path, "class", "partition"):
        label, part = row.text.strip(), row.label.strip()
        if row.reason or part not in PARTITIONS:
            why = row.reason or f"'{part}' is no partition, but one of {', '.join(PARTITIONS)}"
            raise InputError(f"{path}: class '{label}': {why}. Correct the row.")
        if label in found:
            raise InputError(f"{path}: class '{label}' is there twice. Keep one of the rows.")
        found[label] = part
    _require_known(path, found, data)
    if missing := sorted(set(data.classes) - set(found)):
        raise InputError(f"{path}: class '{missing[0]}' is not in it. Add a row for it.")
    return found


def _of_folders(data: UserData) -> dict[str, Partition]:
    found: dict[str, Partition] = {}
    for label, part in zip(data.labels, data.parts, strict=True):
        if part is None or found.setdefault(label, part) != part:
            where = f"in {part}/ and in {found[label]}/" if part else "in neither of them"
            raise InputError(
                f"partition: folders: classes must be below train/, val/ or test/, each below one; "
                f"'{label}' is {where}. Move its images, or give shares or a file."
            )
    return found


def _require_known(path: Path, labels: Collection[str], data: UserData) -> None:
    known = {*data.classes, *data.small}
    if strange := sorted(set(labels) - known):
        raise InputError(
            f"{path}: class '{strange[0]}' is none of the dataset, whose classes are such as "
            f"'{data.classes[0]}'. Correct or remove the row."
        )


def _imagenet(entry: OwnData, root: Path) -> str | None:
    """As :func:`metabench.data.imagenet.shared` takes it: a file by its path from here."""
    which = entry.imagenet
    return which if which is None or is_ours(which) else str(_place(which, root))


def _place(given: str, root: Path) -> Path:
    """A path of ``params.yaml``: in the mirror, if it is there and not beside the file."""
    beside = root / given
    return beside if beside.exists() else mirrored(given) or beside


def _found(given: str, root: Path) -> Path:
    """The same, if there is such a file or folder.

    Raises:
        InputError: it is in neither place.
    """
    path = _place(given, root)
    if not path.exists():
        mirror = os.environ.get(MIRROR)
        place = f"in {MIRROR}={mirror}" if mirror else f"in a mirror ({MIRROR} is not set)"
        raise InputError(
            f"{given}: no such file or folder, neither beside params.yaml nor {place}. Correct the "
            "path, or put it there."
        )
    return path


def _named(given: str, root: Path, field: str, words: Sequence[str]) -> Path:
    """The file that a field names, which may have one of ``words`` instead.

    Raises:
        InputError: it is neither.
    """
    try:
        return _found(given, root)
    except InputError as error:
        raise InputError(
            f"{field}: {error} It may be a word, too. {nearest(given, words)}"
        ) from error


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Say of which entry a message is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"params.yaml: datasets.{name}: {_with_fields(str(error))}") from error


def _with_fields(text: str) -> str:
    """A message whose options of `metabench bench` are fields, which have the same names."""
    return re.sub(r"--([a-z-]+)", lambda option: option[1].replace("-", "_"), text)
