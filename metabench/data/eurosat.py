"""EuroSAT: satellite images of ten kinds of land use, 64x64 RGB; a cross-domain target."""

from __future__ import annotations

from pathlib import Path

from metabench.data.archives import image_classes, zip_images
from metabench.data.base import PHOTOGRAPHS, Builder, Dataset, RemoteFile

SIZE = 64
ARCHIVE = RemoteFile(
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
    "md5:c8fa014336c82ac7804f0398fcb19387",
    "EuroSAT.zip",
)


def build(raw: Path) -> Dataset:
    """All classes are ``test``; the folder of an image, ``2750/<class>/``, is its class."""
    path = raw / ARCHIVE.name
    labelled = ((name.split("/")[-2], image) for name, image in zip_images(path))
    return image_classes("eurosat", path, labelled, SIZE, lambda _: ("land use", "test"))


EUROSAT = Builder(
    "eurosat",
    "image",
    "Helber et al. 2019, EuroSAT: A Novel Dataset for Land Use and Land Cover Classification",
    build,
    (ARCHIVE,),
    augmentation=PHOTOGRAPHS,
    imagenet="none",
)
