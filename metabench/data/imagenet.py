"""Which classes of a dataset ImageNet-1k has too, and so whoever was pretrained on it has seen.

A class is shared where a class of ImageNet-1k (a synset of WordNet) is the same, a kind of it, or a
kind that it belongs to, as ``albatross`` is to the black-footed albatross. A synset that holds all
classes of a dataset tells none of them apart, as ``street sign`` does not with traffic signs, and
is no reason.

The lists in ``imagenet_1k/`` were made by hand from the names and definitions of the thousand
synsets (Russakovsky et al. 2015; as in timm's ``imagenet_synset_to_lemma.txt``); those of
``flowers102``, whose classes have numbers, by looking at the images too.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from metabench.config.messages import nearest
from metabench.data.tables import read_table
from metabench.files import InputError

FOLDER = Path(__file__).parent / "imagenet_1k"
IMAGENET = "imagenet"
"""What a backbone says of itself, as ``pretrained_on``, that has learned the thousand classes."""


def shared(which: str | None, classes: Collection[str]) -> frozenset[str] | None:
    """Those of ``classes`` that ImageNet-1k has too; None: nobody has looked.

    Args:
        which: ``none``, ``all``, or what :func:`listed` takes.

    Raises:
        InputError: no such list or file.
    """
    if which is None:
        return None
    whole = {"none": frozenset[str](), "all": frozenset(classes)}
    return whole[which] if which in whole else listed(which) & set(classes)


def lists() -> list[str]:
    """What is no file of the user's."""
    return ["none", "all", *sorted(p.stem for p in FOLDER.glob("*.csv"))]


def is_ours(which: str) -> bool:
    """Whether this is no file of the user's."""
    return which in lists()


def listed(which: str) -> frozenset[str]:
    """The classes of a list in ``imagenet_1k/``, or of a CSV file.

    It has a row for each class, in columns ``class`` and ``imagenet``; the latter is empty, or has
    the synsets that are a reason.

    Raises:
        InputError: no such list or file, or it is no table with these columns.
    """
    path = FOLDER / f"{which}.csv"
    if not path.is_file() and not (path := Path(which)).is_file():
        raise InputError(f"imagenet: {which}: no such file or list. {nearest(which, lists())}")
    rows = read_table(path, "class", "imagenet")
    return frozenset(row.text.strip() for row in rows if row.label.strip())
