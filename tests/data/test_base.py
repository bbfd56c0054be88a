from pathlib import Path

import numpy as np
import pytest

from metabench.data import DATASETS
from metabench.data.base import PARTITIONS, ClassInfo, Dataset
from metabench.files import InputError


def toy(**changes) -> Dataset:
    parts = {
        "name": "toy",
        "kind": "image",
        "x": np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2),
        "y": np.array([2, 0, 1, 0, 2, 1]),
        "classes": (
            ClassInfo("a", "g", "train"),
            ClassInfo("b", "g", "val"),
            ClassInfo("c", "h", "test"),
        ),
        "fixed": {"test-1w1s": np.array([[[0, 4]]])},
    }
    return Dataset(**{**parts, **changes})


def test_save_and_load_give_the_same_dataset(tmp_path):
    saved = toy()
    saved.save(tmp_path)
    loaded = Dataset.load(tmp_path)
    assert (loaded.name, loaded.kind, loaded.classes) == (saved.name, saved.kind, saved.classes)
    np.testing.assert_array_equal(loaded.x, saved.x)
    assert loaded.x.dtype == np.uint8
    np.testing.assert_array_equal(loaded.y, saved.y)
    assert loaded.fixed.keys() == saved.fixed.keys()
    np.testing.assert_array_equal(loaded.fixed["test-1w1s"], saved.fixed["test-1w1s"])


def test_members_are_the_examples_of_each_class_of_the_partition():
    dataset = toy()
    assert [m.tolist() for m in dataset.members("train")] == [[1, 3]]
    assert [m.tolist() for m in dataset.members("test")] == [[0, 4]]
    assert dataset.class_ids("val").tolist() == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"x": np.zeros((6, 1, 2, 2), np.uint8)},
        {"y": np.array([2, 0, 1, 0, 1, 2])},
        {"fixed": {}},
        {"fixed": {"test-1w1s": np.array([[[4, 0]]])}},
        {
            "classes": (
                ClassInfo("a", "g", "val"),
                ClassInfo("b", "g", "train"),
                ClassInfo("c", "h", "test"),
            )
        },
    ],
    ids=["examples", "labels", "no fixed episodes", "fixed episodes", "partitions"],
)
def test_the_digest_depends_on_all_content(tmp_path, change):
    digests = [toy().save(tmp_path / "a"), toy().save(tmp_path / "b")]
    assert digests[0] == digests[1]
    assert toy(**change).save(tmp_path / "c") != digests[0]


@pytest.mark.parametrize("name", ["x.npy", "y.npy", "fixed.npz", "classes.json"])
def test_a_missing_file_is_an_input_error_naming_the_folder(tmp_path, name):
    toy().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=tmp_path.name):
        Dataset.load(tmp_path)


@pytest.mark.parametrize("name", ["x.npy", "y.npy", "fixed.npz", "classes.json"])
@pytest.mark.parametrize("keep", [0, 10, -4])
def test_a_truncated_file_is_an_input_error_naming_the_folder(tmp_path, name, keep):
    toy().save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=tmp_path.name):
        Dataset.load(tmp_path)


def test_a_save_that_fails_leaves_no_dataset(tmp_path, monkeypatch):
    toy().save(tmp_path)

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(InputError, match=r"fixed\.npz: the disk is full"):
        toy(y=np.array([2, 0, 1, 0, 1, 2])).save(tmp_path)
    with pytest.raises(InputError, match="missing"):
        Dataset.load(tmp_path)
    assert not list(tmp_path.glob(".tmp-*"))


def test_different_numbers_of_examples_and_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="6 examples but 5 labels"):
        toy(y=np.array([2, 0, 1, 0, 2]))
    toy().save(tmp_path)
    np.save(tmp_path / "y.npy", np.array([0, 1, 2]))
    with pytest.raises(InputError, match="6 examples but 3 labels"):
        Dataset.load(tmp_path)


def test_a_class_without_examples_is_named():
    with pytest.raises(InputError, match="class 'b' has no examples"):
        toy(y=np.array([2, 0, 2, 0, 2, 0]))


def test_a_label_without_a_class_is_refused():
    with pytest.raises(InputError, match="label 3"):
        toy(y=np.array([2, 0, 1, 0, 3, 1]))


@pytest.mark.parametrize("name", DATASETS.names())
def test_a_registered_builder_is_complete(name):
    builder = DATASETS.load(name)
    assert builder.name == name
    assert builder.citation
    assert (builder.build is None) == (builder.kind == "regression")
    assert (builder.family is None) == (builder.kind != "regression")
    for file in builder.files:
        assert file.url.startswith("https://")
        assert len(file.hash.removeprefix("md5:")) == (32 if file.hash[:4] == "md5:" else 64)
        assert Path(file.name).name == file.name


def test_partitions_are_disjoint_by_construction():
    dataset = toy()
    ids = [set(dataset.class_ids(p)) for p in PARTITIONS]
    assert set.union(*ids) == {0, 1, 2}
    assert sum(map(len, ids)) == 3
