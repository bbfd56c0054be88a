"""Images as they come (files, arrays, PIL) to the uint8 arrays that learners take."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from metabench.sampling import conform

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)
"""What PIL raises on a file that is no image, or a damaged one."""


def decode(file: str | Path | IO[bytes]) -> np.ndarray:
    """An image file as uint8 ``[1, H, W]`` (grey) or ``[3, H, W]``.

    The camera's orientation is applied, transparency becomes white, of an animation the first
    frame is taken, and 16-bit grey keeps its upper byte.

    Raises:
        OSError, ValueError, SyntaxError, EOFError: see ``UNREADABLE``.
    """
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        return (np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8)[None]
    if image.mode in ("1", "L", "F"):
        return np.asarray(image.convert("L"))[None]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def decode_base64(text: str) -> np.ndarray:
    """An image file in base64, as a request carries it.

    Raises:
        ValueError: not base64, or not an image.
    """
    try:
        return decode(io.BytesIO(base64.b64decode(text, validate=True)))
    except (*UNREADABLE, binascii.Error) as error:
        raise ValueError(f"not an image file in base64: {error}") from error


def channels_first(image: Any) -> np.ndarray:
    """One image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of 1 or 3 channels, as ``[C, H, W]``.

    Raises:
        ValueError: another shape, or not uint8.
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[0] not in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] not in (1, 3) or 0 in array.shape:
        raise ValueError(
            f"an image must have shape [H, W], [H, W, C] or [C, H, W] with 1 or 3 channels, this "
            f"one has {list(np.shape(image))}"
        )
    if array.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 (0 to 255), these are {array.dtype}. Scale and convert them, "
            "such as (255 * x / x.max()).astype('uint8')."
        )
    return array


def as_batch(images: Sequence[Any] | np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Images of any size as one uint8 batch ``[N, C, H, W]`` of ``shape`` ``(C, H, W)``.

    Raises:
        ValueError: see :func:`channels_first`.
    """
    arrays = [np.ascontiguousarray(channels_first(image)) for image in images]
    if not arrays:
        return torch.empty((0, *shape), dtype=torch.uint8)
    return torch.cat([conform(torch.tensor(array)[None], shape) for array in arrays])
