"""From stored examples to what a network takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

WHITES: Mapping[str, tuple[float, ...]] = {"float": (1.0, 255.0), "whole": (255, 4095, 65535)}
"""What white may be in numbers of other types than uint8: the smallest that all values fit in."""

MARKS = (0, 101, 102)
"""Word pieces that are no content: padding, [CLS] and [SEP]."""


def to_input(x: Tensor) -> Tensor:
    """Stored examples to network input: uint8 images to ``[0, 1]``, the rest as it is."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def match_format(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bring a target's images ``[N, C, H, W]`` into the source's format ``(C, H, W)``.

    Colour becomes grey by the mean, grey becomes colour by repetition, sizes change bilinearly.
    """
    if x.dim() != 4 or tuple(x.shape[1:]) == shape:
        return x
    images = x.float()
    if images.shape[1] != shape[0]:
        images = images.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    if images.shape[2:] != shape[1:]:
        images = F.interpolate(images, shape[1:], mode="bilinear", antialias=True)
    return images.round().clamp(0, 255).to(torch.uint8)
