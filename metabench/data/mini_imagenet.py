"""miniImageNet: 100 classes of ImageNet with 600 images each, 84x84 RGB.

ImageNet may not be redistributed, so the user supplies the images: METABENCH_MINIIMAGENET names a
zip archive or a folder, or METABENCH_MIRROR a folder with ``mini_imagenet/images.zip``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from metabench.data.archives import folder_images, image_classes, words, zip_images
from metabench.data.base import PHOTOGRAPHS, Builder, Dataset, Partition
from metabench.data.download import MIRROR, mirrored
from metabench.files import InputError

SIZE = 84
PER_CLASS = 600
VARIABLE = "METABENCH_MINIIMAGENET"
HELP = (
    f"Set {VARIABLE} to a zip archive or a folder with the 60000 images of miniImageNet, where the "
    "folder or the name of each image holds its WordNet id (images/n0153282900000005.jpg or "
    "train/n01532829/n0153282900000005.jpg); or put the archive at mini_imagenet/images.zip of "
    f"{MIRROR}."
)

# Ravi & Larochelle 2017, files {train,val,test}.csv of their repository
CLASSES: dict[Partition, frozenset[str]] = {
    "train": words(
        """n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747 n02074367 n02089867
        n02091831 n02101006 n02105505 n02108089 n02108551 n02108915 n02111277 n02113712 n02120079
        n02165456 n02457408 n02606052 n02687172 n02747177 n02795169 n02823428 n02966193 n03017168
        n03047690 n03062245 n03207743 n03220513 n03337140 n03347037 n03400231 n03476684 n03527444
        n03676483 n03838899 n03854065 n03888605 n03908618 n03924679 n03998194 n04067472 n04243546
        n04251144 n04258138 n04275548 n04296562 n04389033 n04435653 n04443257 n04509417 n04515003
        n04596742 n04604644 n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560
        n13133613"""
    ),
    "val": words(
        """n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370
        n03417042 n03535780 n03584254 n03770439 n03773504 n03980874 n09256479"""
    ),
    "test": words(
        """n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484
        n02871525 n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357
        n04522168 n07613480"""
    ),
}
PARTITION = {wnid: part for part, wnids in CLASSES.items() for wnid in wnids}


def labelled(path: Path) -> Iterator[tuple[str, Image.Image]]:
    """``(WordNet id, image)`` of every image of the 100 classes."""

    def class_of(name: str) -> str | None:
        found = [w for w in re.findall(r"n\d{8}", name) if w in PARTITION]
        return found[-1] if found else None

    images = folder_images if path.is_dir() else zip_images
    for name, image in images(path, lambda n: class_of(n) is not None):
        yield class_of(name) or "", image


def build(raw: Path) -> Dataset:
    """Read what :data:`VARIABLE` points to, or the mirror has; nothing is downloaded to ``raw``.

    Raises:
        InputError: not set, not there, or not the published 600 images of each class.
    """
    given = os.environ.get(VARIABLE)
    path = Path(given) if given else mirrored("mini_imagenet/images.zip")
    if path is None:
        raise InputError(f"dataset mini_imagenet: {VARIABLE} is not set. {HELP}")
    if not path.exists():
        raise InputError(f"{VARIABLE}={given}: no such file or folder. {HELP}")
    dataset = image_classes(
        "mini_imagenet", path, labelled(path), SIZE, lambda w: ("imagenet", PARTITION[w])
    )
    counts = Counter(dataset.classes[i].name for i in dataset.y)
    wrong = {w: counts[w] for w in PARTITION if counts[w] != PER_CLASS}
    if wrong:
        wnid, count = next(iter(wrong.items()))
        raise InputError(
            f"{path}: class {wnid} has {count} images, miniImageNet has {PER_CLASS} "
            f"({len(wrong)} such classes). {HELP}"
        )
    return dataset


MINI_IMAGENET = Builder(
    "mini_imagenet",
    "image",
    "Vinyals et al. 2016; classes by Ravi & Larochelle 2017, Optimization as a Model for Few-Shot "
    "Learning",
    build,
    augmentation=PHOTOGRAPHS,
    imagenet="all",
)
