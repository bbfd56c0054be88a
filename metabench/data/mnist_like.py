"""Fashion-MNIST and KMNIST: 28x28 grey targets in the idx format of MNIST."""

from __future__ import annotations

import gzip
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from metabench.data.archives import damaged
from metabench.data.base import CHARACTERS, Builder, ClassInfo, Dataset, RemoteFile

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def read_idx(path: Path) -> np.ndarray:
    """A gzipped idx file of bytes: ``00 00 08 <dims>``, big-endian sizes, data.

    Raises:
        InputError: missing, cut off, or another format.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an idx file of bytes")
        sizes = np.frombuffer(content, ">u4", content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise damaged(path, error) from error


def build(name: str, labels: tuple[str, ...], raw: Path) -> Dataset:
    """Both published parts together; all ten classes are ``test``: this is a target."""
    images, targets, more_images, more_targets = (read_idx(raw / file) for file in FILES)
    return Dataset(
        name,
        "image",
        x=np.concatenate([images, more_images])[:, None],
        y=np.concatenate([targets, more_targets]).astype(np.int64),
        classes=tuple(ClassInfo(label, name, "test") for label in labels),
    )


def _builder(
    name: str, citation: str, labels: str, imagenet: str, url: str, md5: tuple[str, ...]
) -> Builder:
    return Builder(
        name,
        "image",
        citation,
        partial(build, name, tuple(labels.split(", "))),
        tuple(RemoteFile(url + f, f"md5:{h}", f) for f, h in zip(FILES, md5, strict=True)),
        augmentation=CHARACTERS,
        imagenet=imagenet,
    )


FASHION_MNIST = _builder(
    "fashion_mnist",
    "Xiao, Rasul & Vollgraf 2017, Fashion-MNIST",
    "t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot",
    "fashion_mnist",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)

KMNIST = _builder(
    "kmnist",
    "Clanuwat et al. 2018, Deep Learning for Classical Japanese Literature",
    "o, ki, su, tsu, na, ha, ma, ya, re, wo",
    "none",
    "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    (
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
)
