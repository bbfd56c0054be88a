import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from metabench.data import omniglot
from metabench.files import InputError


@pytest.fixture(scope="module")
def raw() -> Path:
    mirror = os.environ.get("METABENCH_MIRROR")
    folder = Path(mirror or "/nowhere") / "omniglot"
    if not folder.is_dir():
        pytest.skip("needs METABENCH_MIRROR with a folder omniglot")
    return folder


@pytest.fixture(scope="module")
def small(raw):
    return [b.build(raw) for b in (omniglot.SMALL1, omniglot.SMALL2)]


def drawing(*line: int) -> bytes:
    """A 105x105 one-bit PNG with dark ink, as in the archives."""
    image = Image.new("1", (105, 105), 1)
    ImageDraw.Draw(image).line(line, fill=0, width=5)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def characters(dataset) -> dict[str, tuple[str, int]]:
    """Partition and number of classes of each character."""
    found: dict[str, tuple[str, int]] = {}
    for c in dataset.classes:
        character, rotation = c.name.rsplit("/", 1)
        assert rotation in ("rot000", "rot090", "rot180", "rot270")
        partition, count = found.get(character, (c.partition, 0))
        assert partition == c.partition, "rotations of a character are in one partition"
        found[character] = (partition, count + 1)
    return found


def test_small_sets_have_the_published_characters_and_twenty_drawings_of_each(small):
    first, second = (characters(d) for d in small)
    assert (len(first), len(second)) == (136, 156)
    assert len(first | second) == 242
    assert len({n.split("/")[0] for n in first | second}) == 8
    for dataset in small:
        assert dataset.x.shape[1:] == (1, 28, 28)
        assert (np.bincount(dataset.y) == 20).all()


def test_small_sets_train_on_three_quarters_of_the_characters_of_every_alphabet(small):
    for dataset in small:
        partitions = [p for p, _ in characters(dataset).values()]
        assert 0.73 < partitions.count("train") / len(partitions) < 0.77
        assert partitions.count("val") >= 10
        assert partitions.count("test") >= 20
        assert len({c.group for c in dataset.classes if c.partition == "train"}) == 5


def test_a_character_has_the_same_partition_in_both_small_sets(small):
    first, second = (characters(d) for d in small)
    shared = first.keys() & second.keys()
    assert {n.split("/")[0] for n in shared} == {"Greek", "Latin"}
    assert all(first[n] == second[n] for n in shared)


def test_ink_is_bright_and_thin_on_a_dark_ground(small):
    x = small[0].x
    assert x.dtype == np.uint8
    assert np.median(x) == 0
    assert (x.reshape(len(x), -1).max(1) > 80).all()
    assert 5 < x.mean() < 60


def test_challenge_runs_pair_each_training_image_with_its_own_test_item(raw):
    dataset = omniglot.CHALLENGE.build(raw)
    episodes = dataset.fixed["test-20w1s"]
    assert episodes.shape == (20, 20, 2)
    assert sorted(episodes.ravel()) == list(range(800))
    labels = dataset.y[episodes]
    assert (labels[..., 0] == labels[..., 1]).all()
    assert {c.partition for c in dataset.classes} == {"test"}
    # independently: run 7 read by hand from the archive
    with zipfile.ZipFile(raw / "all_runs.zip") as archive:
        answer = dict(
            line.split() for line in archive.read("run07/class_labels.txt").decode().splitlines()
        )
        for way in range(20):
            support, query = dataset.x[episodes[6, way]][:, 0]
            name = f"run07/training/class{way + 1:02d}.png"
            item = next(q for q, s in answer.items() if s == name)
            for member, got in ((name, support), (item, query)):
                ink = Image.open(archive.open(member)).convert("L").resize((28, 28), 2)
                np.testing.assert_array_equal(got, 255 - np.asarray(ink))


def test_nearest_pixels_on_the_challenge_are_far_above_chance_and_far_from_solved(raw):
    dataset = omniglot.CHALLENGE.build(raw)
    x = dataset.x[dataset.fixed["test-20w1s"]].reshape(20, 20, 2, -1) / 255.0
    distance = ((x[:, :, None, 1] - x[:, None, :, 0]) ** 2).sum(-1)
    accuracy = (distance.argmin(-1) == np.arange(20)).mean()
    assert 0.15 < accuracy < 0.6  # a wrong label file would give 0.05


@pytest.fixture
def full_like(tmp_path) -> Path:
    """Two archives in the form of the full set: 3 alphabets, 40 characters, 2 drawings."""
    alphabets = {
        "images_background": {"Futurama": 16, "Greek": 14},
        "images_evaluation": {"Tengwar": 10},
    }
    for name, content in alphabets.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for alphabet, count in content.items():
                for c in range(count):
                    folder = f"{name}/{alphabet}/character{c + 1:02d}"
                    archive.writestr(zipfile.ZipInfo(f"{folder}/"), b"")
                    for d in range(2):
                        archive.writestr(
                            f"{folder}/{c:04d}_{d + 1:02d}.png", drawing(10, 10, 10 + d, 90)
                        )
    return tmp_path


def test_training_characters_alone_are_rotated(full_like):
    found = characters(omniglot.FULL.build(full_like))
    assert len(found) == 40
    assert all(n == (4 if p == "train" else 1) for p, n in found.values())
    assert [p for p, _ in found.values()].count("test") == round(40 * 423 / 1623)


def test_full_keeps_the_published_counts_of_characters():
    parts = omniglot.assign([str(i) for i in range(1623)], 172 / 1623, 423 / 1623, "full")
    counts = {p: list(parts.values()).count(p) for p in ("train", "val", "test")}
    assert counts == {"train": 1028, "val": 172, "test": 423}


def test_a_rotated_class_is_the_image_turned_by_ninety_degrees(full_like):
    dataset = omniglot.FULL.build(full_like)
    name = next(c.name for c in dataset.classes if c.name.endswith("rot090"))
    index = {c.name: i for i, c in enumerate(dataset.classes)}
    upright = dataset.x[dataset.y == index[name.replace("rot090", "rot000")]][0, 0]
    turned = dataset.x[dataset.y == index[name]][0, 0]
    assert upright[:, :6].sum() > 0.9 * upright.sum(), "the stroke is at the left edge"
    assert turned[-6:].sum() > 0.9 * turned.sum(), "turned against the clock: at the bottom"


def test_a_truncated_archive_is_named(full_like):
    path = full_like / "images_background.zip"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"images_background\.zip"):
        omniglot.FULL.build(full_like)


def test_a_challenge_archive_without_labels_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "all_runs.zip", "w") as archive:
        archive.writestr("run01/test/item01.png", drawing(1, 1, 50, 50))
    with pytest.raises(InputError, match=r"all_runs\.zip.*class_labels"):
        omniglot.CHALLENGE.build(tmp_path)


def test_other_splits_have_as_many_characters_of_which_others_are_for_test():
    names = [f"Greek/{i:02d}" for i in range(24)]
    usual, other = (
        omniglot.assign(names, 0.1, 0.15, "small", "Greek", *omniglot.named(k)) for k in (0, 1)
    )
    assert usual != other
    assert sorted(usual.values()) == sorted(other.values())
