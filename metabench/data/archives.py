"""Reading what datasets are published as: archives and folders of images, images as arrays."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from metabench.data.base import ClassInfo, Dataset, Partition
from metabench.files import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg")
_DAMAGE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    UnidentifiedImageError,
)
Wanted = Callable[[str], bool]


def damaged(path: Path, why: object) -> InputError:
    """The error for a file that is there but is not what it should be."""
    return InputError(f"{path}: not the expected file ({why}). Replace or delete it and run again.")


def words(text: str) -> frozenset[str]:
    """A published list of class names, as written in one text."""
    return frozenset(text.split())


def zip_images(path: Path, wanted: Wanted = bool) -> Iterator[tuple[str, Image.Image]]:
    """PNG and JPEG members of a zip archive as ``(name, image)``, sorted by name.

    Args:
        wanted: whether to read the member of that name.

    Raises:
        InputError: the archive or an image is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(_SUFFIXES) and wanted(name):
                    with archive.open(name) as member:
                        yield name, _decoded(member)
    except _DAMAGE as error:
        raise damaged(path, error) from error


def tar_images(path: Path, within: str) -> Iterator[tuple[str, Image.Image]]:
    """PNG and JPEG members of a tar archive below a folder, in the order of the archive.

    Raises:
        InputError: the archive or an image is missing or damaged.
    """
    try:
        with tarfile.open(path) as archive:
            for info in archive:
                member = archive.extractfile(info) if info.isfile() else None
                if member and within in info.name and info.name.lower().endswith(_SUFFIXES):
                    yield info.name, _decoded(member)
    except _DAMAGE as error:
        raise damaged(path, error) from error


def folder_images(path: Path, wanted: Wanted = bool) -> Iterator[tuple[str, Image.Image]]:
    """PNG and JPEG files below a folder as ``(relative name, image)``, sorted by name.

    Raises:
        InputError: an image is damaged.
    """
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if name.lower().endswith(_SUFFIXES) and wanted(name):
            try:
                with file.open("rb") as content:
                    yield name, _decoded(content)
            except _DAMAGE as error:
                raise damaged(file, error) from error


def _decoded(file: object) -> Image.Image:
    image = Image.open(file)  # type: ignore[arg-type]  # zip, tar or plain file
    image.load()
    return image


def resize(image: Image.Image, size: int, colour: bool = True) -> np.ndarray:
    """uint8 ``[C, size, size]`` by an anti-aliased bilinear filter; aspect ratio is not kept."""
    image = image.convert("RGB" if colour else "L")
    array = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return array.transpose(2, 0, 1) if colour else array[None]


def image_classes(
    name: str,
    path: Path,
    labelled: Iterable[tuple[str, Image.Image]],
    size: int,
    describe: Callable[[str], tuple[str, Partition]],
) -> Dataset:
    """A dataset from ``(class name, image)`` pairs; classes sorted by name.

    Args:
        path: where the images come from, for the message when there are none.
        describe: group and partition of a class.

    Raises:
        InputError: no images.
    """
    images: list[np.ndarray] = []
    labels: list[str] = []
    for label, image in labelled:
        images.append(resize(image, size))
        labels.append(label)
    if not images:
        raise damaged(path, "it holds no images of the dataset")
    names, y = np.unique(labels, return_inverse=True)
    return Dataset(
        name,
        "image",
        x=np.stack(images),
        y=y.astype(np.int64),
        classes=tuple(ClassInfo(str(n), *describe(str(n))) for n in names),
    )
