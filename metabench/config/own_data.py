"""Entries of ``datasets`` in ``params.yaml``: data of one's own as datasets of a profile."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from metabench.config.bounds import Count, Distinct, Share, Width
from metabench.config.task_types import Strict

Text = Annotated[str, Field(min_length=1)]
OF_IMAGES = {"size", "invert", "imagenet"}
WORDS = "all-test", "folders"
"""Partitions that are neither shares nor in a file."""
OF_TEXTS = {"text_column", "label_column", "separator", "encoding", "max_pieces"}


class Shares(Strict):
    """Shares of the classes that are drawn for ``test`` and ``val``; the rest is ``train``."""

    test: Annotated[Share, Field(gt=0)]
    val: Share = 0.0


Partition = Annotated[
    Annotated[Shares, Tag("[shares]")] | Annotated[Text, Tag("[name]")],
    Discriminator(lambda given: "[shares]" if isinstance(given, dict | Shares) else "[name]"),
]


class OwnData(Strict):
    """A folder or zip of images, or a table of texts. Paths are relative to ``params.yaml``.

    What is not found there is looked for in the folder of ``METABENCH_MIRROR``.

    Attributes:
        images: a folder with a sub-folder for each class, or a zip of such; or else
        texts: a CSV, JSON or Parquet file with a row for each text.
        partition: shares of the classes, drawn by name; or ``all-test``, for a target; or
            ``folders``, where ``train/``, ``val/`` and ``test/`` lie above the classes; or a CSV
            file with columns ``class`` and ``partition``.
        least: classes with fewer examples are left out.
        augmentation: what leaves the labels alone.
        size: side in pixels that images are brought to.
        invert: images are dark on bright, where other datasets of characters are bright on dark.
        imagenet: the classes that ImageNet-1k has too: ``none``, ``all``, the name of one of
            metabench's lists, or a CSV file (:mod:`metabench.data.imagenet`). Else nobody knows.
        text_column, label_column, separator, encoding, max_pieces: of the table, as for `metabench
            bench`.
    """

    images: Text | None = None
    texts: Text | None = None
    partition: Partition
    least: Count = 4
    augmentation: Distinct[str] = ()
    size: Width = 84
    invert: bool = False
    imagenet: Text | None = None
    text_column: str = "text"
    label_column: str = "label"
    separator: str = ""
    encoding: str = ""
    max_pieces: Annotated[int, Field(strict=True, ge=1, le=512)] = 256

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.images is None) == (self.texts is None):
            raise ValueError("give one of `images` (a folder or zip) and `texts` (a table)")
        others = OF_TEXTS if self.images is not None else OF_IMAGES
        given = self.model_dump(include=others, exclude_defaults=True)
        if given:
            raise ValueError(f"{', '.join(given)}: not for {self.kind}s. Leave it out")
        return self

    @property
    def kind(self) -> Literal["image", "text"]:
        """What the examples are."""
        return "text" if self.images is None else "image"

    @property
    def path(self) -> str:
        """Where they are, as ``params.yaml`` says."""
        return self.images or self.texts or ""

    @property
    def partition_file(self) -> str | None:
        """The CSV file of the partition, if there is one."""
        known = isinstance(self.partition, Shares) or self.partition in WORDS
        return None if known else str(self.partition)

    def reading(self) -> dict[str, Any]:
        """All that decides how the content of the files becomes a dataset, their paths apart."""
        apart = {"images", "texts", "imagenet", *(["partition"] if self.partition_file else [])}
        return self.model_dump(mode="json", exclude=apart)
