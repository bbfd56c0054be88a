"""Reading what datasets are published as: zip archives of images, and images as arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from metabench.files import InputError


def damaged(path: Path, why: object) -> InputError:
    """The error for a file that is there but is not what it should be."""
    return InputError(f"{path}: not the expected file ({why}). Delete it and run again.")


def zip_images(
    path: Path, wanted: Callable[[str], bool] = bool
) -> Iterator[tuple[str, Image.Image]]:
    """Images of a zip archive as ``(name, image)``, sorted by name.

    Args:
        wanted: whether to read the member of that name; PNG and JPEG members are asked about.

    Raises:
        InputError: the archive or an image is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith((".png", ".jpg", ".jpeg")) and wanted(name):
                    with archive.open(name) as member:
                        yield name, Image.open(member)
    except (OSError, zipfile.BadZipFile, UnidentifiedImageError) as error:
        raise damaged(path, error) from error


def resize(image: Image.Image, size: int, colour: bool = True) -> np.ndarray:
    """uint8 ``[C, size, size]`` by an anti-aliased bilinear filter; aspect ratio is not kept."""
    image = image.convert("RGB" if colour else "L")
    array = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return array.transpose(2, 0, 1) if colour else array[None]
