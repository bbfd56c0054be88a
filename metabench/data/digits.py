"""Digits: real handwritten digits from scikit-learn, an embedded cross-domain target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from metabench.data.base import CHARACTERS, Builder, ClassInfo, Dataset

SIZE = 28


def build(raw: Path) -> Dataset:
    """All ten classes are ``test``, enlarged from 8x8; nothing is read from ``raw``."""
    from sklearn.datasets import load_digits  # 1.5 s that only the download stage has to wait

    images, labels = load_digits(return_X_y=True)
    grey = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # stored as 0..16
    enlarged = [Image.fromarray(g).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for g in grey]
    return Dataset(
        "digits",
        "image",
        x=np.stack([np.asarray(image) for image in enlarged])[:, None],
        y=labels.astype(np.int64),
        classes=tuple(ClassInfo(str(d), "digits", "test") for d in range(10)),
    )


DIGITS = Builder(
    "digits",
    "image",
    citation="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), test part",
    build=build,
    augmentation=CHARACTERS,
    imagenet="none",
)
