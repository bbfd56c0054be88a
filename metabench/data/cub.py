"""CUB-200-2011: 200 species of birds, 84x84 RGB; the usual target for miniImageNet learners."""

from __future__ import annotations

from pathlib import Path

from metabench.data.archives import image_classes, tar_images
from metabench.data.base import PHOTOGRAPHS, Builder, Dataset, Partition, RemoteFile

SIZE = 84
ARCHIVE = RemoteFile(
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "md5:97eceeb196236b17998738112f37df78",
    "CUB_200_2011.tgz",
)


def partition(species: str) -> Partition:
    """Chen et al. 2019: odd numbers train (100), of the even ones every other is ``test`` (50).

    ``species`` is a folder name such as ``004.Groove_billed_Ani``.
    """
    parts: tuple[Partition, ...] = ("test", "train", "val", "train")
    return parts[int(species.split(".")[0]) % 4]


def build(raw: Path) -> Dataset:
    """Whole images, resized; the published boxes are not used. As a target, 50 test classes."""
    path = raw / ARCHIVE.name
    labelled = ((name.split("/")[-2], image) for name, image in tar_images(path, "/images/"))
    return image_classes("cub", path, labelled, SIZE, lambda s: ("birds", partition(s)))


CUB = Builder(
    "cub",
    "image",
    "Wah et al. 2011, The Caltech-UCSD Birds-200-2011 Dataset; classes by Chen et al. 2019, "
    "A Closer Look at Few-shot Classification",
    build,
    (ARCHIVE,),
    augmentation=PHOTOGRAPHS,
    imagenet="cub",
)
