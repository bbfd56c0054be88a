"""A folder of images as people have it: what is read, what is left out, and why."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.data.own import UserData, by_reason, read_images
from metabench.files import InputError

DRAW = np.random.default_rng(0)


def fill(folder: Path, count: int = 5) -> list[Path]:
    """``count`` small images, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        Image.fromarray(DRAW.integers(0, 255, (9, 9), dtype=np.uint8)).save(path)
    return paths


def counts(user_data: UserData) -> dict[str, int]:
    """Examples of each class."""
    return {name: user_data.labels.count(name) for name in user_data.classes}


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
    user_data = read_images(folder)
    assert counts(user_data) == {"a": 5, "b": 5}
    assert dict(user_data.skipped) == {
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
    user_data = read_images(tmp_path)
    assert counts(user_data) == {"a": 5, "b": 5}
    reason = "iPhone photo (HEIC): pip install pillow-heif, or convert to JPEG"
    assert user_data.skipped == [("a/IMG_1.HEIC", reason)]


@pytest.mark.case("20")
def test_one_image_under_two_labels_is_a_contradiction_that_names_both(tmp_path) -> None:
    rose, _ = fill(tmp_path / "rose", 7), fill(tmp_path / "tulip", 7)
    (tmp_path / "rose/again.png").write_bytes(rose[2].read_bytes())
    (tmp_path / "tulip/same.png").write_bytes(rose[1].read_bytes())
    user_data = read_images(tmp_path)
    assert counts(user_data) == {"rose": 6, "tulip": 7}  # nobody knows which label is right
    assert dict(user_data.skipped) == {
        "rose/again.png": "the same image as rose/2.png",
        "rose/1.png": "the same image as tulip/same.png, but labelled 'rose', not 'tulip'",
        "tulip/same.png": "the same image as rose/1.png, but labelled 'tulip', not 'rose'",
    }


def test_doubtful_folders_and_names_are_noted(tmp_path) -> None:
    fill(tmp_path / "rose/2024")
    fill(tmp_path / "rose/2025")
    fill(tmp_path / "Rose")
    fill(tmp_path / "caf\u00e9")
    fill(tmp_path / "cafe\u0301")
    user_data = read_images(tmp_path)
    assert counts(user_data)["rose"] == 10 and len(user_data.classes) == 4
    first, second = user_data.notes
    assert first.startswith("rose/ holds only folders (2024, 2025): all images in them are taken")
    assert "'Rose' (5), 'rose' (10)" in second and "'caf\u00e9' (5)" in second


def test_what_cannot_be_opened_and_names_that_are_no_text_end_in_a_line_of_the_list(
    tmp_path, monkeypatch
) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name)
    fill(tmp_path / "locked")
    os.mkfifo(tmp_path / "a/pipe")
    (tmp_path / "b/loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path)
    (tmp_path / "a/Thumbs.db").write_text("x")
    (tmp_path / "b/._0.png").write_text("x")
    strange = Path(os.fsdecode(os.fsencode(tmp_path / "b") + b"/\xff\x1b[31m.png"))
    strange.write_bytes(b"no image")
    plain = Path.iterdir

    def refused(self: Path):
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return plain(self)

    monkeypatch.setattr(Path, "iterdir", refused)
    user_data = read_images(tmp_path)
    assert counts(user_data) == {"a": 5, "b": 5}
    assert dict(user_data.skipped) == {
        "a/pipe": "neither file nor folder",
        "b/loop/": "link to a folder that it is in",
        "self/": "link to a folder that it is in",
        "a/Thumbs.db": "file of the system",
        "b/._0.png": "hidden file",
        r"b/\udcff\x1b[31m.png": "not a readable image (of no format that Pillow knows)",
        "locked/": "class of 0 usable images, at least 4 are needed",
    }
    assert ("locked/", "cannot be opened (Permission denied)") in user_data.skipped


def test_images_that_lose_something_or_have_other_depths_are_counted_in_the_notes(tmp_path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name)
    for i in range(5):
        deep = DRAW.integers(0, 4000 if i else 200, (9, 9)).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / f"a/deep{i}.png")
        Image.new("RGBA", (5, 5), (40 * i, 0, 0, 99)).save(tmp_path / f"b/clear{i}.png")
    user_data = read_images(tmp_path)
    assert user_data.white == {"whole": 4095} and user_data.smallest == 10
    assert max(image.max() for image in user_data.examples[5:6]) <= 200 // 16  # as dark as it is
    assert user_data.notes == [
        "5 of 20 images are of more than 8 bits a channel: the upper 8 are kept (a/deep0.png, "
        "a/deep1.png, a/deep2.png and 2 more)",
        "5 of 20 images are transparent: put on white (b/clear0.png, b/clear1.png, b/clear2.png "
        "and 2 more)",
        "5 of 20 images hold whole numbers, of which 4095 is white",
    ]


def test_a_reason_that_many_share_is_one_line() -> None:
    listed = [(f"{i}.heic", "HEIC") for i in range(5)] + [("x", "no image")]
    assert by_reason(listed) == ["0.heic, 1.heic, 2.heic and 2 more: HEIC", "x: no image"]
