"""CIFAR-FS and FC100: two published partitions of the classes of CIFAR-100, 32x32 colour."""

from __future__ import annotations

import pickle
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from metabench.data.archives import damaged, words
from metabench.data.base import PHOTOGRAPHS, Builder, ClassInfo, Dataset, Partition, RemoteFile

ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    "md5:eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-python.tar.gz",
)

# Bertinetto et al. 2019 (R2-D2), files splits/bertinetto/{val,test}.txt; the other 64 train.
CIFAR_FS_CLASSES: dict[Partition, frozenset[str]] = {
    "val": words(
        """beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle
        otter sea shark television tractor"""
    ),
    "test": words(
        """baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail
        sweet_pepper table telephone wardrobe whale woman worm"""
    ),
}

# Oreshkin et al. 2018 (TADAM): whole superclasses; the other twelve train.
FC100_SUPERCLASSES: dict[Partition, frozenset[str]] = {
    "val": words(
        """large_carnivores large_omnivores_and_herbivores non-insect_invertebrates
        small_mammals"""
    ),
    "test": words("aquatic_mammals insects medium_mammals people"),
}


# what arrays and byte strings need; numpy keeps these names in different modules over the years
_ALLOWED = {"numpy._reconstruct", "numpy.ndarray", "numpy.dtype", "_codecs.encode"}


class _ArraysOnly(pickle.Unpickler):
    """Reads the pickles of the archive, which hold numpy arrays, and refuses all other code."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module.split('.')[0]}.{name}" not in _ALLOWED:
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")
        return super().find_class(module, name)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, dict[int, int], list[str], list[str]]:
    """The 60000 images of both published parts (the few-shot protocols use all).

    Returns:
        images ``[60000, 3, 32, 32]``, fine labels, superclass of each fine label, and the names of
        classes and superclasses.

    Raises:
        InputError: not the CIFAR-100 python archive.
    """
    try:
        with tarfile.open(path) as archive:
            train, test, meta = (
                _ArraysOnly(_member(archive, f"cifar-100-python/{n}"), encoding="latin1").load()
                for n in ("train", "test", "meta")
            )
        images = np.concatenate([train["data"], test["data"]]).reshape(-1, 3, 32, 32)
        fine = np.array(train["fine_labels"] + test["fine_labels"])
        coarse = train["coarse_labels"] + test["coarse_labels"]
        parent = dict(zip(fine.tolist(), coarse, strict=True))
        return images, fine, parent, meta["fine_label_names"], meta["coarse_label_names"]
    except (OSError, EOFError, tarfile.TarError, pickle.UnpicklingError, KeyError, ValueError) as e:
        raise damaged(path, e) from e


def _member(archive: tarfile.TarFile, name: str) -> Any:
    return archive.extractfile(name)


def build(name: str, chosen: dict[Partition, frozenset[str]], raw: Path) -> Dataset:
    """Classes whose name or superclass is in ``chosen`` are there; all others train."""
    x, y, parent, names, supers = read(raw / ARCHIVE.name)

    def partition(class_name: str, group: str) -> Partition:
        return next((p for p, these in chosen.items() if {class_name, group} & these), "train")

    groups = [supers[parent[i]] for i in range(len(names))]
    classes = tuple(ClassInfo(n, g, partition(n, g)) for n, g in zip(names, groups, strict=True))
    return Dataset(name, "image", x, y, classes)


CIFAR_FS = Builder(
    "cifar_fs",
    "image",
    "Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers",
    partial(build, "cifar_fs", CIFAR_FS_CLASSES),
    (ARCHIVE,),
    mirror="cifar100",
    augmentation=PHOTOGRAPHS,
    imagenet="cifar100",
)

FC100 = Builder(
    "fc100",
    "image",
    "Oreshkin, Rodriguez & Lacoste 2018, TADAM",
    partial(build, "fc100", FC100_SUPERCLASSES),
    (ARCHIVE,),
    mirror="cifar100",
    augmentation=PHOTOGRAPHS,
    imagenet="cifar100",
)
