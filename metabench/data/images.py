"""Images as they come to the uint8 arrays that learners take: ``read_image`` for one.

``metabench bench``, :class:`metabench.FewShotClassifier` and the service all read by it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from metabench.data.formats import WHITES, match_format

with contextlib.suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # PIXELS decides

SIDE = 256
"""Longer sides are reduced to this as an image is read: a photograph takes 0.2 MB, not 36."""
PIXELS = 178_956_970
"""Larger files are refused before they are decoded; Pillow's own limit."""

TRANSPARENCY = "transparent: put on white"
DEPTH = "of more than 8 bits a channel: the upper 8 are kept"
FRAMES = "of several frames or pages: the first is taken"
COLOUR = "coloured: made grey, which is all that the learner takes"

FILES = (str, os.PathLike, bytes, bytearray, memoryview)
NONE: Mapping[str, float] = MappingProxyType({})

HEIC = "iPhone photo (HEIC): pip install pillow-heif, or convert to JPEG"
AVIF = "AVIF, which this Pillow was built without: pip install -U pillow, or convert to JPEG"


class NotAnImage(ValueError):
    """What was given cannot be read as an image: why, and the fix where there is one."""


class Read(NamedTuple):
    """An image as it is stored.

    Attributes:
        pixels: uint8 ``[1, H, W]`` (grey) or ``[3, H, W]``, sides up to ``SIDE``.
        losses: what of the original is not in ``pixels``, in the words above.
        white: ``(key of WHITES, value)`` that white was taken to be; None where uint8 says it.
    """

    pixels: np.ndarray
    losses: tuple[str, ...]
    white: tuple[str, float] | None


class Batch(NamedTuple):
    """Images as a learner takes them.

    Attributes:
        x: uint8 ``[N, C, H, W]``.
        losses: how many of the images lost what.
        white: what white was taken to be, by type of number; give it with the next images.
    """

    x: Tensor
    losses: Counter[str]
    white: dict[str, float]


def read_image(image: Any, white: Mapping[str, float] = NONE, limit: int = PIXELS) -> Read:
    """One image of any make in its stored form.

    - A file (path, bytes or opened) in any format that Pillow reads.
    - A PIL image of any mode.
    - An array ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of 1 (grey), 2 (grey, alpha), 3 (colour)
      or 4 (colour, alpha) channels: uint8, bool, whole numbers to 255, 4095 (12 bits) or 65535,
      floats to 1 or 255.

    The camera's orientation is applied, palettes are looked up, transparency is put on white, of
    frames or pages the first is taken, and sides over ``SIDE`` are reduced. Grey stays grey, and
    colour stays colour.

    Args:
        white: what white is, by key of ``WHITES``, where other images say so; else the smallest
            value that this image fits in.
        limit: pixels (height × width) of the largest file that is decoded.

    Raises:
        NotAnImage: no image, a damaged or too large one, or an array that can be read in two ways.
    """
    reading = _Reading(white, limit)
    try:
        return Read(reading.pixels(image), tuple(reading.losses), reading.found)
    except NotAnImage:
        raise
    except UnidentifiedImageError as error:
        raise NotAnImage(_unknown(image)) from error
    except Exception as error:  # Pillow's readers raise anything on damaged files
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NotAnImage(f"not a readable image ({words.splitlines()[0][:100]})") from error


def decode(image: Any) -> np.ndarray:
    """The pixels of :func:`read_image`."""
    return read_image(image).pixels


def decode_base64(text: str, limit: int = PIXELS) -> np.ndarray:
    """An image file in base64, as a request carries it; see :func:`read_image`.

    Raises:
        ValueError: not base64, not an image, or one of more than ``limit`` pixels.
    """
    try:
        return read_image(base64.b64decode(text, validate=True), limit=limit).pixels
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"not an image file in base64: {error}") from error


def as_batch(
    images: Iterable[Any], shape: tuple[int, ...], white: Mapping[str, float] = NONE
) -> Batch:
    """Images of any make and size in the ``shape`` ``(C, H, W)`` of a learner.

    White is the same for all of them: the largest that :func:`read_image` finds in one.

    Raises:
        ValueError: see :func:`read_image`; the image is named by its path or number.
    """
    if isinstance(images, str | bytes | os.PathLike | Image.Image):
        raise ValueError(f"must be a list of images, not one {type(images).__name__}")
    images = list(images)

    def read(number: int, white: Mapping[str, float]) -> Read:
        image = images[number]
        try:
            found = read_image(image, white)
        except ValueError as error:
            path = isinstance(image, str | os.PathLike)
            raise ValueError(f"{image if path else f'image {number}'}: {error}") from error
        if shape[0] == 1 and coloured(found.pixels):
            found = found._replace(losses=(*found.losses, COLOUR))
        return found._replace(pixels=resized([found.pixels], shape)[0].numpy())

    found = [read(number, white) for number in range(len(images))]
    common = even_out(found, read, white)
    losses = Counter(loss for one in found for loss in one.losses)
    x = np.stack([one.pixels for one in found]) if found else np.empty((0, *shape), np.uint8)
    return Batch(torch.from_numpy(x), losses, common)


def resized(images: Collection[np.ndarray], shape: tuple[int, ...]) -> Tensor:
    """Stored images uint8 ``[C, H, W]`` of any sizes as uint8 ``[N, C, H, W]`` of ``shape``."""
    found = torch.empty((len(images), *shape), dtype=torch.uint8)
    for row, image in zip(found, images, strict=True):
        row.copy_(match_format(torch.tensor(image)[None], shape)[0])
    return found


def even_out(
    found: list[Read],
    again: Callable[[int, Mapping[str, float]], Read],
    white: Mapping[str, float] = NONE,
) -> dict[str, float]:
    """Read ``again``, in place, what took less for white than others did; returns what it is now.

    Args:
        again: reads the image of a number with that white.
    """
    common = dict(white)
    for kind, value in (one.white for one in found if one.white):
        common[kind] = max(value, common.get(kind, value))
    for number, one in enumerate(found):
        if one.white and one.white[1] != common[one.white[0]]:
            found[number] = again(number, common)
    return common


def coloured(image: np.ndarray) -> bool:
    """Whether a stored image has colours, by more than what JPEG leaves of a grey one."""
    return len(image) == 3 and bool((image.max(0) - image.min(0)).max() > 16)


@dataclass
class _Reading:
    """How one image is read, and what was met on the way."""

    white: Mapping[str, float]
    limit: int
    losses: list[str] = field(default_factory=list)
    found: tuple[str, float] | None = None

    def pixels(self, image: Any) -> np.ndarray:
        """An image of any make as uint8 ``[C, H, W]``."""
        if isinstance(image, FILES) or hasattr(image, "read"):
            return self.stored(self.opened(image))
        if isinstance(image, Image.Image):
            self.look_at(image)
            return self.stored(ImageOps.exif_transpose(image))
        return self.stored(Image.fromarray(self.shallow(_channels_last(image))))

    def look_at(self, picture: Image.Image) -> None:
        """What its header says, before anything is decoded."""
        if picture.format == "EPS":
            raise NotAnImage("EPS is a program that draws an image; convert it to PNG")
        if picture.width * picture.height > self.limit:
            raise NotAnImage(
                f"{picture.width} × {picture.height} pixels are more than {self.limit:,}; reduce it"
            )
        if picture.format not in ("MPO", "PSD") and getattr(picture, "is_animated", False):
            self.losses.append(FRAMES)  # the others of MPO are previews, of PSD layers
        if picture.mode[0] not in "IF" and re.search(";16[BLN]", str(getattr(picture, "tile", ""))):
            self.losses.append(DEPTH)

    def opened(self, file: Any) -> Image.Image:
        """A file, upright; of a large JPEG no more is decoded than is needed."""
        if isinstance(file, bytes | bytearray | memoryview):
            file = io.BytesIO(file)
        with Image.open(file) as picture:
            self.look_at(picture)
            picture.draft(None, (2 * SIDE, 2 * SIDE))
            ImageOps.exif_transpose(picture, in_place=True)
            picture.load()
        return picture

    def stored(self, picture: Image.Image) -> np.ndarray:
        """A picture of any mode as uint8 ``[C, H, W]``."""
        if picture.mode[0] in "IF":
            picture = Image.fromarray(self.shallow(np.asarray(picture)))
        clear = picture.has_transparency_data
        if clear or picture.mode != "L":
            picture = picture.convert("RGBA" if clear else "L" if picture.mode == "1" else "RGB")
        if max(picture.size) > SIDE:
            size = (min(picture.width, SIDE), min(picture.height, SIDE))
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        if clear:
            if np.asarray(picture)[..., 3].min() < 255:
                self.losses.append(TRANSPARENCY)
            ground = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(ground, picture).convert("RGB")
        array = np.asarray(picture)
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)

    def shallow(self, values: np.ndarray) -> np.ndarray:
        """Numbers of any type as uint8 of the same shape."""
        if values.dtype == np.uint8:
            return values
        if values.dtype == bool:
            return values.astype(np.uint8) * 255
        kind = "float" if values.dtype.kind == "f" else "whole"
        low, high = float(values.min()), float(values.max())
        fit = next((top for top in WHITES[kind] if high <= top), None)
        if fit is None or not low >= 0:
            raise NotAnImage(
                f"its values go from {low:g} to {high:g}; they must go from 0 to 255, 0 to 1 "
                "(float) or 0 to 65535 (whole numbers)"
            )
        top = self.white.get(kind, fit)
        if fit > top:
            raise NotAnImage(f"its values go to {high:g}, where white is {top:g} in other images")
        self.found = (kind, top)
        shallow: np.ndarray
        if kind == "float":
            shallow = (values * (255 / top)).round()
            lost = np.abs(values * (255 / top) - shallow).max() > 0.01
        else:
            bits = {255: 0, 4095: 4, 65535: 8}[int(top)]
            shallow, rest = values >> bits, values & (2**bits - 1)
            lost = bool(((rest != 0) & (rest != values >> 8)).any())
        if lost:
            self.losses.append(DEPTH)
        return shallow.astype(np.uint8)


def _channels_last(image: Any) -> np.ndarray:
    """An array as ``[H, W]`` or ``[H, W, C]``."""
    try:
        array = np.asarray(image)
    except (ValueError, TypeError, RuntimeError) as error:
        raise NotAnImage("an image must be an array, not rows of unequal lengths") from error
    if array.dtype.kind not in "buif":
        raise NotAnImage(
            f"an image must be a path, the bytes of a file, a PIL image or an array of numbers, "
            f"this one is {type(image).__name__} of {array.dtype}"
        )
    if array.ndim == 3:
        first, last = array.shape[0], array.shape[2]
        for usual in ((1, 3), (2, 4)):
            if first in usual and last in usual:
                raise NotAnImage(
                    f"an image of shape {list(array.shape)} may be [H, W, C] or [C, H, W]: give a "
                    "PIL image, or [H, W] where it is grey"
                )
            if first in usual or last in usual:
                array = array if last in usual else array.transpose(1, 2, 0)
                break
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] > 4):
        raise NotAnImage(
            f"an image must have shape [H, W], [H, W, C] or [C, H, W] with 1 to 4 channels, this "
            f"one has {list(array.shape)}"
        )
    return array[..., 0] if array.shape[2:] == (1,) else np.ascontiguousarray(array)


def _unknown(image: Any) -> str:
    """Why Pillow does not know a file."""
    if isinstance(image, str | os.PathLike):
        with Path(image).open("rb") as file:
            start = file.read(32)
    else:
        start = bytes(image[:32]) if not hasattr(image, "read") else b""
    if start[4:8] == b"ftyp":
        brands = {start[8:12], start[16:20], start[20:24]}
        if brands & {b"avif", b"avis"}:
            return AVIF
        if brands & {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}:
            return HEIC
    return "not a readable image (of no format that Pillow knows)"
