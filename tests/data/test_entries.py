"""Own folders, zips and tables as datasets of a profile."""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabench.config.own_data import OwnData
from metabench.data.base import Dataset
from metabench.data.entries import fingerprint, own_builder
from metabench.files import InputError
from tests.data.test_own_images import fill

NAME = "mine"
CLASSES = [f"class{i}" for i in range(8)]


def entry(**values: Any) -> OwnData:
    size = {"size": 8} if "texts" not in values else {}
    return OwnData.model_validate({"partition": "all-test"} | size | values)


def built(root: Path, split: int = 0, **values: Any) -> Dataset:
    """The arrays of an entry of a params.yaml in ``root``."""
    builder = own_builder(NAME, entry(**values), root)
    if split:
        assert builder.split_anew is not None
        return builder.split_anew(root / "raw", split)
    assert builder.build is not None
    return builder.build(root / "raw")


def parts(dataset: Dataset) -> dict[str, str]:
    return {c.name: c.partition for c in dataset.classes}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Eight classes of five images."""
    for name in CLASSES:
        fill(tmp_path / "images" / name)
    return tmp_path


def zipped(folder: Path, path: Path, within: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{within}{file.relative_to(folder).as_posix()}")
    return path


def test_a_folder_becomes_the_images_that_pillow_reads(folder) -> None:
    dataset = built(folder, images="images", size=9)
    files = [folder / "images" / name / f"{i}.png" for name in CLASSES for i in range(5)]
    expected = np.stack([np.asarray(Image.open(file))[None] for file in files])
    np.testing.assert_array_equal(dataset.x, expected)
    assert dataset.y.tolist() == [i for i in range(8) for _ in range(5)]
    assert dataset.name == NAME and parts(dataset) == dict.fromkeys(CLASSES, "test")
    inverted = built(folder, images="images", size=9, invert=True)
    np.testing.assert_array_equal(inverted.x, 255 - expected)


def test_colour_is_kept_where_one_image_has_it_and_sides_are_as_asked(folder) -> None:
    Image.new("RGB", (40, 20), (200, 10, 10)).save(folder / "images/class0/red.jpg")
    dataset = built(folder, images="images")
    assert dataset.x.shape == (41, 3, 8, 8)
    (red,) = dataset.x[np.ptp(dataset.x.mean((2, 3)), axis=1) > 100]
    assert red[0].min() > 190 and red[1:].max() < 20


@pytest.mark.parametrize("within", ["", "photos of 2024/"])
def test_a_zip_is_read_as_the_folder_that_it_holds(folder, within) -> None:
    (folder / "images/.DS_Store").touch()
    zipped(folder / "images", folder / "images.zip", within)
    from_zip, from_folder = built(folder, images="images.zip"), built(folder, images="images")
    np.testing.assert_array_equal(from_zip.x, from_folder.x)
    assert from_zip.classes == from_folder.classes
    assert list((folder / "raw").iterdir()) == []  # what was unpacked is gone


@pytest.mark.case("03")
@pytest.mark.case("11")
@pytest.mark.case("20")
@pytest.mark.case("21")
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_bench_leaves_out_is_left_out_and_logged(tmp_path, form, caplog) -> None:
    root = tmp_path / "images"
    for part in ("train", "val"):
        for name in ("a", "b"):
            fill(root / part / name)
    fill(root / "train/a/.ipynb_checkpoints", 1)
    fill(root / "train/a/@eaDir", 2)
    fill(root / "__MACOSX", 1)
    shutil.copy(root / "val/a/0.png", root / "val/b/again.png")
    (root / "train/b/IMG.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    zipped(root, tmp_path / "images.zip")
    with caplog.at_level(logging.WARNING):
        dataset = built(tmp_path, images="images" if form == "folder" else "images.zip")
    assert np.bincount(dataset.y).tolist() == [9, 10] and set(parts(dataset)) == {"a", "b"}
    for words in ("hidden folder", "folder of thumbnails", "HEIC", "the same image as", "'a'"):
        assert words in caplog.text


def test_shares_of_the_classes_are_drawn_by_name_and_split(folder) -> None:
    shares = {"test": 0.25, "val": 0.25}
    first = parts(built(folder, images="images", partition=shares))
    assert sorted(first.values()) == ["test"] * 2 + ["train"] * 4 + ["val"] * 2
    assert parts(built(folder, images="images", partition=shares)) == first
    other = parts(built(folder, split=1, images="images", partition=shares))
    assert sorted(other.values()) == sorted(first.values()) and other != first
    assert own_builder(NAME, entry(images="images"), folder).split_anew is None


def test_a_file_or_the_folders_say_where_each_class_belongs(folder) -> None:
    wanted = dict(zip(CLASSES, ["train"] * 4 + ["val"] * 2 + ["test"] * 2, strict=True))
    table = "\n".join(["partition;class", *(f"{p};{c}" for c, p in wanted.items())])
    (folder / "p.csv").write_text(table)
    assert parts(built(folder, images="images", partition="p.csv")) == wanted
    for name, part in wanted.items():
        shutil.move(folder / "images" / name, folder / "parted" / part / name)
    assert parts(built(folder, images="parted", partition="folders")) == wanted


def test_a_table_becomes_texts(tmp_path) -> None:
    rows = [f"{word} number {i},{word}" for word in ("red", "green", "blue") for i in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]))
    dataset = built(tmp_path, texts="t.csv")
    assert dataset.kind == "text" and dataset.x.dtype == np.int32 and len(dataset.x) == 15
    assert set(parts(dataset)) == {"red", "green", "blue"}


PARTITION = "class,partition\n" + "".join(f"{name},test\n" for name in CLASSES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": "nowhere"}, "nowhere: no such file or folder, neither beside params.yaml nor"),
        ({"images": "images/class0"}, "class0: has no sub-folders"),
        ({"images": "one"}, r"one: 1 usable class\(es\) of 1, at least 2 are needed"),
        ({"images": "hollow"}, "hollow: class 'empty' has no usable images. Add some, or"),
        ({"images": "p.csv"}, "p.csv: neither a folder nor a zip that can be unpacked"),
        ({"texts": "p.csv", "label_column": "kind"}, r"no column 'text' \(text_column\)"),
        ({"partition": {"test": 0.01}}, r"partition.test: 0.01 of 8 classes is none"),
        ({"partition": {"test": 0.6, "val": 0.6}}, "test and val are 10 classes, there are 8"),
        ({"partition": "folders"}, "'class0' is in neither of them"),
        ({"partition": "gone.csv"}, "gone.csv: no such file"),
        ({"partition": "twice.csv"}, "twice.csv: class 'class0' is there twice"),
        ({"partition": "part.csv"}, "part.csv: class 'class0': 'tset' is no partition, but one of"),
        ({"partition": "more.csv"}, "more.csv: class 'other' is none of the dataset"),
        ({"partition": "less.csv"}, "less.csv: class 'class7' is not in it"),
        ({"imagenet": "more.csv"}, "more.csv: has no column 'imagenet'"),
        ({"imagenet": "listed.csv"}, "listed.csv: class 'other' is none of the dataset"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_entry_and_the_fix(folder, values, message) -> None:
    fill(folder / "one/only")
    fill(folder / "hollow/full")
    fill(folder / "hollow/other")
    (folder / "hollow/empty").mkdir()
    for name, text in {
        "p.csv": PARTITION,
        "twice.csv": PARTITION + "class0,val\n",
        "part.csv": PARTITION.replace("class0,test", "class0,tset"),
        "more.csv": PARTITION + "other,test\n",
        "less.csv": PARTITION.replace("class7,test\n", ""),
        "listed.csv": "class,imagenet\nclass0,\nother,n02058221\n",
    }.items():
        (folder / name).write_text(text)
    given = values if {"images", "texts"} & values.keys() else {"images": "images"} | values
    with pytest.raises(InputError, match=rf"^params.yaml: datasets.{NAME}: .*{message}"):
        built(folder, **given)


@pytest.mark.parametrize(
    ("field", "word", "near"), [("partition", "alltest", "all-test"), ("imagenet", "cubs", "cub")]
)
def test_a_misspelt_word_is_told_from_a_file_that_is_not_there(folder, field, word, near) -> None:
    message = rf"{field}: {word}: no such file .* Did you mean .*{near}"
    with pytest.raises(InputError, match=message):
        fingerprint(NAME, entry(images="images", **{field: word}), folder)


def test_the_content_counts_and_not_the_place(folder, monkeypatch) -> None:
    before = fingerprint(NAME, entry(images="images"), folder)
    (folder / "images/class0/.hidden").write_text("no example")
    shutil.move(folder / "images", folder / "mirror/photos")
    assert fingerprint(NAME, entry(images="mirror/photos"), folder) == before
    monkeypatch.setenv("METABENCH_MIRROR", str(folder / "mirror"))
    assert fingerprint(NAME, entry(images="photos"), folder) == before  # found in the mirror
    fill(folder / "mirror/photos/class0", 1)
    assert fingerprint(NAME, entry(images="photos"), folder) != before
    assert fingerprint(NAME, entry(images="photos", least=5), folder) != fingerprint(
        NAME, entry(images="photos"), folder
    )
