"""Glyphs: characters of many scripts, rendered from the fonts that matplotlib ships.

An embedded stand-in for Omniglot: no download, hundreds of classes, few examples of each, and
scripts to hold out. Partitions are split by script, as Omniglot's are by alphabet. No split is
published, so there is one of our own, and others are drawn by number.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates

from metabench import rng
from metabench.data.base import (
    CHARACTERS,
    PARTITIONS,
    Builder,
    ClassInfo,
    Dataset,
    Partition,
)

SCRIPTS: dict[str, Partition] = {
    "LATIN": "train",
    "GREEK": "train",
    "CANADIAN SYLLABICS": "train",
    "CYRILLIC": "val",
    "ARMENIAN": "val",
    "LAO": "val",
    "NKO": "val",
    "HEBREW": "test",
    "GEORGIAN": "test",
    "ARABIC": "test",
    "TIFINAGH": "test",
    "OGHAM": "test",
    "OLD ITALIC": "test",
}
"""Script (prefix of the Unicode name) to partition. European digits are in none of them: the
dataset ``digits`` must stay unseen."""
SHARES: dict[Partition, float] = {"train": 0.6, "val": 0.15, "test": 0.25}
"""Of the scripts, where they are drawn anew."""
SLACK: dict[Partition, float] = {"train": 0.25, "val": 0.5, "test": 0.5}
"""By how much the number of a partition's classes may then differ from that in ``SCRIPTS``."""

EXAMPLES = 20
SIZE = 28
DUPLICATE = 0.91
LEAK = 0.88
"""Two characters whose shapes have a larger cosine than this are one class: within a partition, and
across partitions, where a likeness would be leakage."""

# Font files by prefix. Computer Modern is out: its character maps name glyphs it does not hold.
FACES = ("DejaVu", "STIXGeneral")
UPRIGHT = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral")
CANVAS = 64
INK = 36  # the longer side of the ink on the canvas, so that size and position tell nothing


@dataclass(frozen=True)
class Glyph:
    """A character, and its undistorted image ``[64, 64]`` in each face that has it."""

    char: str
    script: str
    faces: dict[str, np.ndarray]


def script_of(char: str) -> str | None:
    """The script in :data:`SCRIPTS` of a letter or digit; ``None`` for all else.

    Characters with a decomposition (accented letters, ligatures, presentation forms) are variants
    of others, so they are no classes of their own.
    """
    if unicodedata.category(char) not in ("Lu", "Ll", "Lo", "Nd") or unicodedata.decomposition(
        char
    ):
        return None
    name = unicodedata.name(char, "")
    return next((s for s in SCRIPTS if name.startswith((s + " ", s + "-"))), None)


def render(font: ImageFont.FreeTypeFont, char: str) -> np.ndarray | None:
    """The character on a 64x64 canvas in ``[0, 1]``, ink centred and of fixed size, or blank."""
    left, top, right, bottom = font.getbbox(char)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), char, fill=255, font=font)
    box = image.getbbox()
    if box is None:
        return None
    ink = image.crop(box)
    width, height = (max(1, round(INK * side / max(ink.size))) for side in ink.size)
    return centred(ink.resize((width, height), Image.Resampling.LANCZOS))


def centred(ink: Image.Image) -> np.ndarray:
    """The image in the middle of an empty canvas, ``[64, 64]`` in ``[0, 1]``."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    canvas.paste(ink, ((CANVAS - ink.width) // 2, (CANVAS - ink.height) // 2))
    return np.asarray(canvas, np.float32) / 255


def render_all() -> list[Glyph]:
    """Every character of :data:`SCRIPTS` that some face has, in order of partition and code."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(folder.glob("*.ttf")):
        if not path.stem.startswith(FACES):
            continue
        font = ImageFont.truetype(str(path), 48, layout_engine=ImageFont.Layout.BASIC)
        for code, glyph_name in TTFont(path, lazy=True).getBestCmap().items():
            char = chr(code)
            if glyph_name == ".notdef" or script_of(char) is None:
                continue
            image = render(font, char)
            if image is not None:
                found.setdefault(char, {})[path.stem] = image
    scripts = list(SCRIPTS)
    glyphs = [Glyph(c, str(script_of(c)), faces) for c, faces in found.items()]
    return sorted(glyphs, key=lambda g: (scripts.index(g.script), g.char))


def shape_of(image: np.ndarray) -> np.ndarray:
    """What is compared to tell characters apart: ``[1024]``, of unit length.

    Blurred, and with the aspect ratio moved half way to a square, as fonts differ in both.
    """
    ink = Image.fromarray(np.uint8(image * 255))
    ink = ink.crop(ink.point(lambda v: 255 * (v > 50)).getbbox())
    width, height = (round(INK * (side / max(ink.size)) ** 0.5) for side in ink.size)
    canvas = centred(ink.resize((width, height), Image.Resampling.BILINEAR))
    shape = gaussian_filter(canvas, 1.5)[::2, ::2].ravel()
    return shape / np.linalg.norm(shape)


def distinct(glyphs: list[Glyph], partitions: Mapping[str, Partition]) -> list[Glyph]:
    """Drop each character that looks like an earlier one, in any pair of upright faces.

    Latin A, Greek Alpha and Cyrillic A are one class to the eye: kept apart they would be label
    noise within a partition and leakage between partitions.

    Args:
        partitions: of the scripts.
    """
    owner, shapes = zip(
        *(
            (i, shape_of(g.faces[face]))
            for i, g in enumerate(glyphs)
            for face in UPRIGHT
            if face in g.faces
        ),
        strict=True,
    )
    cosine = np.zeros((len(glyphs), len(glyphs)))
    pairs = (np.array(owner)[:, None], np.array(owner))
    np.maximum.at(cosine, pairs, np.stack(shapes) @ np.stack(shapes).T)
    partition = np.array([partitions[g.script] for g in glyphs])
    similar = cosine > np.where(partition[:, None] == partition, DUPLICATE, LEAK)
    kept: list[int] = []
    for i in range(len(glyphs)):
        if not similar[i, kept].any():
            kept.append(i)
    return [glyphs[i] for i in kept]


_GRID = np.linspace(-1, 1, SIZE, dtype=np.float32)
# smooth interpolation from a 4x4 grid of displacements to the pixels, [28, 4], rows sum to 1
_BASIS = np.exp(-(((_GRID[:, None] - np.linspace(-1, 1, 4)) / 0.5) ** 2))
_BASIS /= _BASIS.sum(1, keepdims=True)


def distort(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A random variant of an undistorted ``[64, 64]`` image: uint8 ``[28, 28]``.

    Affine map (rotation, shear, scale, translation), smooth displacement, stroke width, blur.
    Rotation stays below 30°, since the rotated letters of some scripts are other letters.
    """
    angle = np.deg2rad(draw.uniform(-25, 25))
    shear = draw.uniform(-0.35, 0.35)
    scale = draw.uniform(0.75, 1.25, 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = rotation @ np.array([[1, shear], [0, 1]]) / scale
    y, x = np.meshgrid(_GRID, _GRID, indexing="ij")
    wobble = _BASIS @ draw.normal(0, 0.09, (2, 4, 4)) @ _BASIS.T
    shift = draw.uniform(-0.12, 0.12, (2, 1))
    places = affine @ (np.stack([y.ravel(), x.ravel()]) + shift) + wobble.reshape(2, -1)
    # the 28 pixels look at the middle 0.8 of the canvas, 0.7 of which is ink
    pixels = (places * 0.8 + 1) * (CANVAS - 1) / 2
    soft = gaussian_filter(image, draw.uniform(1.2, 2.0))
    values = map_coordinates(soft, pixels, order=1, mode="constant")
    # the lower the threshold, the wider the stroke
    ink = np.clip((values - draw.uniform(0.03, 0.2)) * draw.uniform(2.5, 5), 0, 1)
    return np.asarray(np.round(ink * 255), np.uint8).reshape(SIZE, SIZE)


def examples(glyph: Glyph) -> np.ndarray:
    """The examples of one class, uint8 ``[20, 28, 28]``: a random face and distortion for each."""
    faces = sorted(glyph.faces)
    images = []
    for i in range(EXAMPLES):
        draw = rng.generator("glyphs", unicodedata.name(glyph.char), i)
        images.append(distort(glyph.faces[faces[draw.integers(len(faces))]], draw))
    return np.stack(images)


def drawn_anew(count: Mapping[str, int], split: int) -> dict[str, Partition]:
    """The partition of each script in another split than ``SCRIPTS``.

    Scripts are drawn whole, until the partitions have the sizes of ``SCRIPTS`` up to ``SLACK``.

    Args:
        count: classes of each script.
    """

    def sizes(partitions: Mapping[str, Partition]) -> dict[Partition, int]:
        return {
            p: sum(count[s] for s, found in partitions.items() if found == p) for p in PARTITIONS
        }

    usual, draw = sizes(SCRIPTS), rng.generator("glyphs", "split", split)
    while True:
        drawn = draw.choice(list(SHARES), len(SCRIPTS), p=list(SHARES.values())).tolist()
        found: dict[str, Partition] = dict(zip(SCRIPTS, drawn, strict=True))
        if all(abs(n - usual[p]) <= SLACK[p] * usual[p] for p, n in sizes(found).items()):
            return found


def build(raw: Path, split: int = 0) -> Dataset:
    """Render every class; nothing is read from ``raw``."""
    glyphs = render_all()
    partitions = SCRIPTS
    if split:
        count = Counter(g.script for g in distinct(glyphs, SCRIPTS))
        partitions = drawn_anew(count, split)
    glyphs = distinct(glyphs, partitions)
    return Dataset(
        "glyphs",
        "image",
        x=np.concatenate([examples(g) for g in glyphs])[:, None],
        y=np.repeat(np.arange(len(glyphs)), EXAMPLES),
        classes=tuple(
            ClassInfo(unicodedata.name(g.char), g.script, partitions[g.script]) for g in glyphs
        ),
    )


GLYPHS = Builder(
    "glyphs",
    "image",
    citation="characters rendered from the DejaVu and STIX fonts, as shipped by matplotlib",
    build=build,
    augmentation=CHARACTERS,
    imagenet="none",
    split_anew=build,
)
