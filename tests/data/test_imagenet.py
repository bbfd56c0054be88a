"""Classes that ImageNet-1k has too: the committed lists, and what they are made of."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from metabench.data import DATASETS
from metabench.data.cifar import CIFAR_FS_CLASSES
from metabench.data.imagenet import FOLDER, shared
from metabench.data.mini_imagenet import PARTITION
from metabench.files import InputError


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


LISTS = sorted(FOLDER.glob("*.csv"))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_each_class_of_a_list_is_there_once_with_a_synset_for_each_name(path) -> None:
    found = rows(path)
    assert len({row["class"] for row in found}) == len(found) > 0
    for row in found:
        assert len(row["imagenet"].split()) == len(row["names"].split("; ")) > 0, row


def test_the_synsets_are_among_the_thousand_and_have_these_names() -> None:
    """Against the table of timm, which is read without importing timm."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        pytest.skip("timm is not installed")
    info = Path(found.origin).parent / "data/_info"
    thousand = set((info / "imagenet_synsets.txt").read_text().split())
    lemmas = dict(
        line.split("\t")
        for line in (info / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    )
    assert len(thousand) == 1000 and set(PARTITION) <= thousand
    for path in LISTS:
        for row in rows(path):
            for synset, name in zip(row["imagenet"].split(), row["names"].split("; "), strict=True):
                assert synset in thousand and lemmas[synset].split(", ")[0] == name, row


def test_every_dataset_of_images_says_what_it_shares() -> None:
    builders = [DATASETS.load(name) for name in DATASETS.names() if not name.startswith("own_")]
    said = {b.name: b.imagenet for b in builders if b.kind == "image"}
    assert None not in said.values()
    assert said["mini_imagenet"] == "all" and said["digits"] == said["glyphs"] == "none"
    lists = {path.stem for path in LISTS} | {"none", "all"}
    assert set(said.values()) <= lists


def test_what_is_shared_is_some_of_the_classes_or_not_known() -> None:
    birds = ["002.Laysan_Albatross", "129.Song_Sparrow", "076.Dark_eyed_Junco"]
    assert shared("cub", birds) == {"002.Laysan_Albatross", "076.Dark_eyed_Junco"}
    assert shared("none", birds) == frozenset() and shared("all", birds) == set(birds)
    assert shared(None, birds) is None
    test = CIFAR_FS_CLASSES["test"]
    others = {"baby", "man", "plain", "poppy", "rose", "woman"}
    assert shared("cifar100", test) == test - others


def test_a_file_of_ones_own_has_a_column_that_may_be_empty(tmp_path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("class,partition,imagenet\npelican,test,n02051845\nheron,test,\n")
    assert shared(str(path), ["pelican", "heron"]) == {"pelican"}
    with pytest.raises(InputError, match=r"cubs: no such file or list\. Did you mean cub"):
        shared("cubs", [])
