"""A folder of images as people have it: what is read, what is left out, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.data.own import OwnData, read_images
from metabench.files import InputError

DRAW = np.random.default_rng(0)


def fill(folder: Path, count: int = 5) -> list[Path]:
    """``count`` small images, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        Image.fromarray(DRAW.integers(0, 255, (9, 9), dtype=np.uint8)).save(path)
    return paths


def counts(own: OwnData) -> dict[str, int]:
    """Examples of each class."""
    return {name: own.labels.count(name) for name in own.classes}


@pytest.mark.case("03")
def test_train_val_and_test_folders_are_parts_and_never_classes(tmp_path) -> None:
    for part in ("Train", "valid", "testing"):
        for name in ("rose", "tulip"):
            fill(tmp_path / "parts" / part / name)
    assert counts(read_images(tmp_path / "parts")) == {"rose": 15, "tulip": 15}
    for part in ("train", "test"):
        fill(tmp_path / "flat" / part)
    with pytest.raises(InputError, match="train/ and test/ are parts of a dataset"):
        read_images(tmp_path / "flat")


@pytest.mark.case("03")
def test_classes_without_parts_above_them_are_read_as_they_are(tmp_path) -> None:
    for name in ("rose", "train"):  # a train may be a vehicle
        fill(tmp_path / name)
    assert counts(read_images(tmp_path)) == {"rose": 5, "train": 5}


@pytest.mark.case("11")
def test_what_folders_hide_is_left_out_and_listed_with_the_true_reason(tmp_path) -> None:
    folder = tmp_path / "mine"
    for name in ("a", "b"):
        fill(folder / name)
    fill(folder, 2)
    fill(folder / "a/.ipynb_checkpoints", 1)
    fill(folder / "a/@eaDir", 2)
    fill(tmp_path / "elsewhere", 1)
    (folder / "b/more").symlink_to(tmp_path / "elsewhere")
    (folder / "b/gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "b/empty.png").touch()
    own = read_images(folder)
    assert counts(own) == {"a": 5, "b": 5}
    assert dict(own.skipped) == {
        "0.png": "not in the folder of a class",
        "1.png": "not in the folder of a class",
        "a/.ipynb_checkpoints/": "hidden folder, files in it: 1",
        "a/@eaDir/": "folder of thumbnails, files in it: 2",
        "b/more/": "link to a folder, which is not followed",
        "b/gone.png": "link to a file that is not there",
        "b/empty.png": "empty file",
    }


@pytest.mark.case("21")
def test_an_iphone_photo_names_the_package_that_reads_it(tmp_path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name)
    (tmp_path / "a/IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    own = read_images(tmp_path)
    assert counts(own) == {"a": 5, "b": 5}
    reason = "iPhone photo (HEIC): pip install pillow-heif, or convert to JPEG"
    assert own.skipped == [("a/IMG_1.HEIC", reason)]


@pytest.mark.case("20")
def test_one_image_under_two_labels_is_a_contradiction_that_names_both(tmp_path) -> None:
    rose, _ = fill(tmp_path / "rose", 7), fill(tmp_path / "tulip", 7)
    (tmp_path / "rose/again.png").write_bytes(rose[2].read_bytes())
    (tmp_path / "tulip/same.png").write_bytes(rose[1].read_bytes())
    own = read_images(tmp_path)
    assert counts(own) == {"rose": 6, "tulip": 7}  # nobody knows which label is right
    assert dict(own.skipped) == {
        "rose/again.png": "the same image as rose/2.png",
        "rose/1.png": "the same image as tulip/same.png, but labelled 'rose', not 'tulip'",
        "tulip/same.png": "the same image as rose/1.png, but labelled 'tulip', not 'rose'",
    }
