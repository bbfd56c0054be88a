"""Augmentation: random variants of examples that keep their labels, batched on the device.

A dataset declares what leaves its labels alone (:class:`metabench.data.base.Builder`); a method's
settings say how strongly, from 0 (not at all) to 1. The ranges at strength 1, to which those of
others are in proportion (``scale`` and proportions by their logarithms):

- ``crop``: a box of 8 to 100 % of the area and of proportions 3:4 to 4:3 is enlarged to the whole
  (Szegedy et al. 2015; on miniImageNet Chen et al. 2019).
- ``flip``: left to right, in half of the cases.
- ``light``, ``contrast``, ``colour``: brightness, distance from the image's mean, and distance from
  the grey image, each times 0.6 to 1.4 (the "jitter" of 0.4 of the miniImageNet codebases).
- ``shift``: by up to 10 % of the side, across and down.
- ``rotation``: by up to 15°, either way.
- ``scale``: 0.8 to 1.25 times as large (Koch et al. 2015 on Omniglot: 0.8 to 1.2).
- ``pieces``: each word piece is left out with a probability of 20 %, but never all of them, and
  never the marks at both ends (Wei & Zou 2019: 5 to 20 % of the words).

All that moves an image is one affine map, so that it is interpolated once, bilinearly; outside of
the image is black. Plain torch: kornia 0.9 takes over twice as long, and a second to import.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.data.base import Transformation
from metabench.data.formats import MARKS

SMALLEST, PROPORTION, JITTER, SHIFT, ANGLE, SIZE = 0.08, 4 / 3, 0.4, 0.1, math.radians(15), 1.25
LEFT_OUT = 0.2

PLACES = ("area", "proportion", "across", "down", "flip", "right", "below", "rotation", "scale")
"""What is drawn for each image, beside the jitters: all that moves it."""
MOVES = frozenset({"crop", "flip", "shift", "rotation", "scale"})
JITTERS = ("light", "contrast", "colour")

Drawn = Mapping[str, Tensor]
"""``[N]`` by name, evenly in 0 to 1."""


def augment(
    x: Tensor, allowed: Collection[Transformation], strength: float, draw: torch.Generator
) -> Tensor:
    """A random variant of each example, of the shape, type and device of ``x``.

    Args:
        x: ``[T, N, ...]`` network inputs: images ``[C, H, W]`` from 0 to 1, or word pieces ``[L]``.
        allowed: what leaves the labels alone.
        strength: 0 to 1; at 0, or where nothing is allowed, ``x`` comes back.
        draw: of the draws. The n-th examples of all tasks share theirs, and each transformation
            draws the same, whatever else is allowed.
    """
    if strength == 0 or not allowed:
        return x
    if "pieces" in allowed:
        drawn = torch.rand(x.shape[1:], generator=draw).to(x.device)
        return without_pieces(x, drawn < LEFT_OUT * strength, drawn)
    names = (*PLACES, *JITTERS)
    columns = torch.rand(x.shape[1], len(names), generator=draw).to(x).repeat(len(x), 1)
    u = dict(zip(names, columns.T, strict=True))
    images = x.flatten(0, 1)
    if not MOVES.isdisjoint(allowed):
        theta = affine_map(u, allowed, strength, aspect=x.shape[-1] / x.shape[-2])
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, align_corners=False)
    if not set(JITTERS).isdisjoint(allowed):
        images = jittered(images, u, allowed, strength)
    return images.unflatten(0, x.shape[:2])


def affine_map(
    u: Drawn, allowed: Collection[Transformation], strength: float, aspect: float
) -> Tensor:
    """``[N, 2, 3]``: where each place of a new image is found in the old one.

    Places are ``(across, down)``, from −1 to 1 each, as ``affine_grid`` takes them. A new place is
    turned and reduced about the middle, shifted, mirrored, and looked up in the box of the crop.

    Args:
        aspect: width by height of the image.
    """

    def within(name: str, most: float, transformation: Transformation) -> Tensor:
        """Evenly from −most to most, at strength 1."""
        return (2 * u[name] - 1) * (most * strength * (transformation in allowed))

    angle = within("rotation", ANGLE, "rotation")
    reduced = torch.exp(-within("scale", math.log(SIZE), "scale"))
    cos, sin = reduced * angle.cos(), reduced * angle.sin()
    shift = [-2 * within(name, SHIFT, "shift") for name in ("right", "below")]

    area = 1 - (1 - SMALLEST) * strength * ("crop" in allowed) * u["area"]
    stretch = torch.exp(within("proportion", math.log(PROPORTION) / 2, "crop"))
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    left, top = (1 - width) * (2 * u["across"] - 1), (1 - height) * (2 * u["down"] - 1)
    mirrored = (u["flip"] < 0.5 * strength) & ("flip" in allowed)
    width = torch.where(mirrored, -width, width)

    rows = [width * cos, -width * sin / aspect, width * shift[0] + left]
    rows += [height * sin * aspect, height * cos, height * shift[1] + top]
    return torch.stack(rows, dim=1).unflatten(1, (2, 3))


def jittered(
    images: Tensor, u: Drawn, allowed: Collection[Transformation], strength: float
) -> Tensor:
    """``clamp(l (c (s x + (1 − s) grey) + (1 − c) mean))`` of images ``[N, C, H, W]``.

    ``l``, ``c`` and ``s`` are the factors of light, contrast and colour; ``grey`` is the mean of an
    image's channels, and ``mean`` that of all its numbers.
    """
    light, contrast, colour = (
        1 + (2 * u[name] - 1)[:, None, None, None] * (JITTER * strength * (name in allowed))
        for name in JITTERS
    )
    grey = images.mean(1, keepdim=True)
    flat = contrast * (1 - colour) * grey + (1 - contrast) * grey.mean((2, 3), keepdim=True)
    return torch.addcmul(light * flat, light * contrast * colour, images).clamp(0, 1)


def without_pieces(x: Tensor, left_out: Tensor, rank: Tensor) -> Tensor:
    """Word pieces ``[T, N, L]`` without those at ``left_out`` ``[N, L]``, padded at the end.

    Padding and the marks at both ends stay, and so does the piece of the highest ``rank``.
    """
    content = torch.isin(x, torch.tensor(MARKS, device=x.device), invert=True)
    last = torch.where(content, rank, -1).argmax(-1, keepdim=True)
    gone = (content & left_out).scatter(-1, last, False)
    order = gone.long().argsort(dim=-1, stable=True)
    return x.masked_fill(gone, 0).gather(-1, order)
