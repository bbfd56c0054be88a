"""Omniglot (Lake et al. 2015): handwritten characters of fifty alphabets, twenty drawers each.

Three forms: the *minimal* training sets of five alphabets (Lake et al. 2019), the published
*challenge* of 20-way one-shot classification within an alphabet, and the *full* set as few-shot
papers use it since Vinyals et al. 2016. Images are 28x28 with bright ink.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from metabench import rng
from metabench.data.archives import damaged, resize, zip_images
from metabench.data.base import CHARACTERS, Builder, ClassInfo, Dataset, Partition, RemoteFile

SIZE = 28
RUNS = WAYS = 20
CITATION = "Lake, Salakhutdinov & Tenenbaum 2015, Human-level concept learning"
_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"


def characters(archives: Iterable[Path]) -> dict[str, np.ndarray]:
    """Drawings of each ``alphabet/character``, uint8 ``[20, 1, 28, 28]``, sorted by name."""
    found: dict[str, list[np.ndarray]] = {}
    for path in archives:
        for name, image in zip_images(path):
            alphabet, character = name.split("/")[-3:-1]
            ink = 255 - resize(image, SIZE, colour=False)
            found.setdefault(f"{alphabet}/{character}", []).append(ink)
    return {name: np.stack(found[name]) for name in sorted(found)}


def named(split: int) -> tuple[int, ...]:
    """What a split adds to the name of a draw: nothing if it is the first."""
    return (split,) if split else ()


def assign(names: list[str], val: float, test: float, *draw: str | int) -> dict[str, Partition]:
    """Partition of each name: shares ``val`` and ``test`` at random, the rest ``train``."""
    order = rng.generator("omniglot", *draw).permutation(len(names))
    first, second = round(len(names) * test), round(len(names) * (test + val))
    parts: tuple[tuple[Partition, np.ndarray], ...] = (
        ("test", order[:first]),
        ("val", order[first:second]),
        ("train", order[second:]),
    )
    return {names[i]: part for part, chosen in parts for i in chosen}


def pack(name: str, drawings: dict[str, np.ndarray], partition: dict[str, Partition]) -> Dataset:
    """A dataset whose groups are alphabets; a character to train on gives four classes.

    A character rotated by a multiple of 90° is a class of its own (Santoro et al. 2016, Vinyals et
    al. 2016), in the same partition as the character. ``val`` and ``test`` are not rotated.
    """
    classes: list[ClassInfo] = []
    images: list[np.ndarray] = []
    for character, upright in drawings.items():
        for quarter in range(4 if partition[character] == "train" else 1):
            label = f"{character}/rot{90 * quarter:03d}"
            classes.append(ClassInfo(label, character.split("/")[0], partition[character]))
            images.append(np.rot90(upright, quarter, axes=(2, 3)))
    return Dataset(
        name,
        "image",
        x=np.concatenate(images),
        y=np.repeat(np.arange(len(classes)), [len(part) for part in images]),
        classes=tuple(classes),
    )


def build_small(name: str, archive: str, raw: Path, split: int = 0) -> Dataset:
    """75% of the characters of every alphabet train, 10% are ``val`` and 15% ``test``.

    The alphabets that are new to the learner are those of the challenge. To hold out whole
    alphabets here too would leave three of five to train on. The draw is named by the alphabet, so
    that a Greek or Latin character has the same partition in both sets: neither leaks to the other.
    """
    drawings = characters([raw / archive])
    partition: dict[str, Partition] = {}
    for alphabet in sorted({c.split("/")[0] for c in drawings}):
        members = [c for c in drawings if c.startswith(f"{alphabet}/")]
        partition |= assign(members, 0.10, 0.15, "small", alphabet, *named(split))
    return pack(name, drawings, partition)


def build_full(raw: Path, split: int = 0) -> Dataset:
    """1200 characters for training and 423 for test; 172 of the 1200 are ``val``.

    The counts are those of Vinyals et al. 2016 and (``val``) Snell et al. 2017; which characters,
    over all alphabets, is a draw of our own.
    """
    drawings = characters([raw / "images_background.zip", raw / "images_evaluation.zip"])
    partition = assign(list(drawings), 172 / 1623, 423 / 1623, "full", *named(split))
    return pack("omniglot", drawings, partition)


def build_challenge(raw: Path) -> Dataset:
    """The 20 published runs, as fixed episodes: one support and one query drawing of 20 classes.

    ``class_labels.txt`` of each run says which training image a test item belongs to.
    """
    path = raw / "all_runs.zip"
    images = {
        "/".join(name.split("/")[-3:]): 255 - resize(image, SIZE, colour=False)
        for name, image in zip_images(path)
    }
    pairs: list[tuple[str, str]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for run in range(1, RUNS + 1):
                text = archive.read(f"run{run:02d}/class_labels.txt").decode()
                lines = [line.split() for line in text.splitlines() if line.strip()]
                pairs += sorted((support, query) for query, support in lines)
        order = [images[name] for pair in pairs for name in pair]
        indices = np.arange(len(order)).reshape(RUNS, WAYS, 2)
    except (KeyError, ValueError) as error:
        raise damaged(path, error) from error
    return Dataset(
        "omniglot_challenge",
        "image",
        x=np.stack(order),
        y=np.repeat(np.arange(len(pairs)), 2),
        classes=tuple(
            ClassInfo(f"{run}/{image[:-4]}", run, "test")
            for run, _, image in (support.split("/") for support, _ in pairs)
        ),
        fixed={f"test-{WAYS}w1s": indices},
    )


def _small(number: int, sha256: str) -> Builder:
    name, archive = f"omniglot_small{number}", f"images_background_small{number}.zip"
    build = partial(build_small, name, archive)
    return Builder(
        name,
        "image",
        CITATION,
        build,
        (RemoteFile(_URL + archive, sha256, archive),),
        mirror="omniglot",
        augmentation=CHARACTERS,
        imagenet="none",
        split_anew=build,
    )


SMALL1 = _small(1, "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4")
SMALL2 = _small(2, "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f")

CHALLENGE = Builder(
    "omniglot_challenge",
    "image",
    "Lake, Salakhutdinov & Tenenbaum 2019, The Omniglot challenge: a 3-year progress report",
    build_challenge,
    (
        RemoteFile(
            _URL + "one-shot-classification/all_runs.zip",
            "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",
            "all_runs.zip",
        ),
    ),
    mirror="omniglot",
    augmentation=CHARACTERS,
    imagenet="none",
)

FULL = Builder(
    "omniglot",
    "image",
    CITATION,
    build_full,
    (
        RemoteFile(
            _URL + "images_background.zip",
            "md5:68d2efa1b9178cc56df9314c21c6e718",
            "images_background.zip",
        ),
        RemoteFile(
            _URL + "images_evaluation.zip",
            "md5:6b91aef0f799c5bb55b94e3f2daec811",
            "images_evaluation.zip",
        ),
    ),
    augmentation=CHARACTERS,
    imagenet="none",
    split_anew=build_full,
)
