"""Datasets with published class partitions, read from archives of the published form."""

import gzip
import io
import pickle
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.data import cifar, cub, eurosat, mini_imagenet, mnist_like
from metabench.files import InputError

# the 20 superclasses of CIFAR-100 with their 5 classes, as on its web page
HIERARCHY = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def picture(colour: tuple[int, int, int], size=(100, 80)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def cifar100(tmp_path_factory) -> Path:
    """The python archive with 2 + 1 images of each class; class c is filled with the value c."""
    folder = tmp_path_factory.mktemp("cifar")
    fine = sorted(n for names in HIERARCHY.values() for n in names.split())
    coarse = sorted(HIERARCHY)
    parent = [next(i for i, g in enumerate(coarse) if n in HIERARCHY[g].split()) for n in fine]
    with tarfile.open(folder / cifar.ARCHIVE.name, "w:gz") as archive:
        for part, copies in (("train", 2), ("test", 1)):
            labels = list(range(100)) * copies
            content = {
                "data": np.repeat(np.array(labels, np.uint8)[:, None], 3072, axis=1),
                "fine_labels": labels,
                "coarse_labels": [parent[c] for c in labels],
            }
            content["data"][:, :1024] += 100  # the red channel comes first
            pickled = pickle.dumps(content, protocol=2)
            # the published pickles are of 2009, when this module was called so
            pickled = pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            add(archive, f"cifar-100-python/{part}", pickled)
        meta = {"fine_label_names": fine, "coarse_label_names": coarse}
        add(archive, "cifar-100-python/meta", pickle.dumps(meta, protocol=2))
    return folder


@pytest.mark.parametrize(
    ("builder", "counts"),
    [(cifar.CIFAR_FS, (64, 16, 20)), (cifar.FC100, (60, 20, 20))],
    ids=["CIFAR-FS", "FC100"],
)
def test_cifar_has_the_published_number_of_classes_in_each_partition(cifar100, builder, counts):
    dataset = builder.build(cifar100)
    assert tuple(len(dataset.class_ids(p)) for p in ("train", "val", "test")) == counts
    assert dataset.x.shape == (300, 3, 32, 32)
    assert (np.bincount(dataset.y) == 3).all()


def test_cifar_images_keep_their_class_and_their_channels(cifar100):
    dataset = cifar.CIFAR_FS.build(cifar100)
    assert (dataset.x[:, 0, 5, 5] == dataset.y + 100).all()
    assert (dataset.x[:, 1:] == dataset.y[:, None, None, None]).all()
    names = sorted(n for names in HIERARCHY.values() for n in names.split())
    assert [c.name for c in dataset.classes] == names
    assert all(c.name in HIERARCHY[c.group].split() for c in dataset.classes)


def test_every_listed_class_of_cifar_exists():
    names = {n for names in HIERARCHY.values() for n in names.split()}
    assert all(listed <= names for listed in cifar.CIFAR_FS_CLASSES.values())
    assert all(listed <= HIERARCHY.keys() for listed in cifar.FC100_SUPERCLASSES.values())


def test_no_superclass_of_fc100_is_in_two_partitions(cifar100):
    dataset = cifar.FC100.build(cifar100)
    pairs = {(c.group, c.partition) for c in dataset.classes}
    assert len(pairs) == 20


def test_a_cifar_archive_with_code_in_it_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    with tarfile.open(tmp_path / cifar.ARCHIVE.name, "w:gz") as archive:
        for part in ("train", "test", "meta"):
            add(archive, f"cifar-100-python/{part}", pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InputError, match="unexpected"):
        cifar.CIFAR_FS.build(tmp_path)
    assert not (tmp_path / "touched").exists()


def test_a_truncated_cifar_archive_is_named(cifar100, tmp_path):
    content = (cifar100 / cifar.ARCHIVE.name).read_bytes()
    (tmp_path / cifar.ARCHIVE.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cifar-100-python\.tar\.gz"):
        cifar.FC100.build(tmp_path)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def mnist_files(tmp_path) -> Path:
    for part, copies in (("train", 2), ("t10k", 1)):
        labels = np.tile(np.arange(10, dtype=np.uint8), copies)
        images = np.zeros((len(labels), 28, 28), np.uint8)
        images[np.arange(len(labels)), labels, 27] = 200  # row = label: no transposition
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return tmp_path


@pytest.mark.parametrize("builder", [mnist_like.FASHION_MNIST, mnist_like.KMNIST])
def test_idx_datasets_are_ten_test_classes_of_upright_images(mnist_files, builder):
    dataset = builder.build(mnist_files)
    assert dataset.x.shape == (30, 1, 28, 28)
    assert (np.bincount(dataset.y) == 3).all()
    assert (dataset.x[np.arange(30), 0, dataset.y, 27] == 200).all()
    assert {c.partition for c in dataset.classes} == {"test"}


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"\0\0\x08"), idx(np.zeros((3, 4), np.uint8))[:-9]],
    ids=["empty", "no gzip", "too short", "cut off"],
)
def test_a_damaged_idx_file_is_named(mnist_files, content):
    (mnist_files / mnist_like.FILES[0]).write_bytes(content)
    with pytest.raises(InputError, match="train-images-idx3"):
        mnist_like.KMNIST.build(mnist_files)


def test_an_idx_file_whose_sizes_disagree_with_its_data_is_named(mnist_files):
    content = gzip.decompress(idx(np.zeros((3, 4), np.uint8)))
    (mnist_files / mnist_like.FILES[1]).write_bytes(gzip.compress(content + b"\0"))
    with pytest.raises(InputError, match="train-labels-idx1"):
        mnist_like.KMNIST.build(mnist_files)


def test_eurosat_takes_the_class_from_the_folder(tmp_path):
    colours = {"Forest": (0, 200, 0), "River": (0, 0, 200)}
    with zipfile.ZipFile(tmp_path / eurosat.ARCHIVE.name, "w") as archive:
        for name, colour in colours.items():
            for i in range(1, 4):
                archive.writestr(f"2750/{name}/{name}_{i}.jpg", picture(colour, (64, 64)))
    dataset = eurosat.EUROSAT.build(tmp_path)
    assert dataset.x.shape == (6, 3, 64, 64)
    assert [(c.name, c.partition) for c in dataset.classes] == [
        ("Forest", "test"),
        ("River", "test"),
    ]
    for label, colour in enumerate(colours.values()):
        mean = dataset.x[dataset.y == label].mean((0, 2, 3))
        np.testing.assert_allclose(mean, colour, atol=4)


def test_cub_partitions_are_those_of_chen_et_al(tmp_path):
    # from the published list: first, second and last classes of the novel (test) file
    assert [cub.partition(s) for s in ("004.Groove_billed_Ani", "008.Rhinoceros_Auklet")] == [
        "test",
        "test",
    ]
    assert cub.partition("200.Common_Yellowthroat") == "test"
    counts = Counter(cub.partition(f"{i:03d}.Bird") for i in range(1, 201))
    assert counts == {"train": 100, "val": 50, "test": 50}


def test_cub_reads_images_alone_and_makes_grey_ones_colour(tmp_path):
    grey = io.BytesIO()
    Image.new("L", (50, 60), 90).save(grey, "JPEG")
    with tarfile.open(tmp_path / cub.ARCHIVE.name, "w:gz") as archive:
        add(archive, "CUB_200_2011/images.txt", b"1 004.Ani/a.jpg")
        add(archive, "CUB_200_2011/images/004.Ani/a.jpg", picture((200, 0, 0)))
        add(archive, "CUB_200_2011/images/002.Albatross/b.jpg", grey.getvalue())
        add(archive, "CUB_200_2011/other/b.jpg", picture((0, 0, 0)))
    dataset = cub.CUB.build(tmp_path)
    assert dataset.x.shape == (2, 3, 84, 84)
    assert [(c.name, c.partition) for c in dataset.classes] == [
        ("002.Albatross", "val"),
        ("004.Ani", "test"),
    ]
    np.testing.assert_allclose(dataset.x[dataset.y == 0].mean((0, 2, 3)), 90, atol=3)
    np.testing.assert_allclose(dataset.x[dataset.y == 1].mean((0, 2, 3)), (200, 0, 0), atol=4)


@pytest.mark.parametrize("build", [eurosat.build, cub.build])
def test_a_missing_archive_is_named(tmp_path, build):
    with pytest.raises(InputError, match=tmp_path.name):
        build(tmp_path)


def test_mini_imagenet_has_64_16_and_20_classes():
    counts = {p: len(c) for p, c in mini_imagenet.CLASSES.items()}
    assert counts == {"train": 64, "val": 16, "test": 20}
    assert len(mini_imagenet.PARTITION) == 100


@pytest.fixture
def two_each(monkeypatch):
    monkeypatch.setattr(mini_imagenet, "PER_CLASS", 2)


def mini_files() -> dict[str, bytes]:
    """Two flat images of each class in the naming of the published csv files."""
    return {
        f"images/{wnid}{i:08d}.jpg": picture((n, 2 * n, 0), (90, 84))
        for n, wnid in enumerate(sorted(mini_imagenet.PARTITION))
        for i in (5, 17)
    }


@pytest.mark.parametrize("form", ["zip", "folder", "class folders"])
def test_mini_imagenet_is_read_from_what_the_user_supplies(tmp_path, monkeypatch, two_each, form):
    files = mini_files() | {"images/n99999999/unrelated.jpg": picture((9, 9, 9))}
    given = tmp_path / ("mini.zip" if form == "zip" else "mini")
    if form == "zip":
        with zipfile.ZipFile(given, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            file = Path(name)
            place = given / "train" / file.name[:9] if form == "class folders" else given / "images"
            place.mkdir(parents=True, exist_ok=True)
            (place / file.name).write_bytes(content)
    monkeypatch.setenv("METABENCH_MINIIMAGENET", str(given))
    dataset = mini_imagenet.MINI_IMAGENET.build(tmp_path / "unused")
    assert dataset.x.shape == (200, 3, 84, 84)
    assert [c.name for c in dataset.classes] == sorted(mini_imagenet.PARTITION)
    assert all(c.partition == mini_imagenet.PARTITION[c.name] for c in dataset.classes)
    np.testing.assert_allclose(dataset.x[:, 0].mean((1, 2)), dataset.y, atol=3)


def test_mini_imagenet_says_how_to_supply_the_images(tmp_path, monkeypatch):
    monkeypatch.delenv("METABENCH_MINIIMAGENET", raising=False)
    monkeypatch.setenv("METABENCH_MIRROR", str(tmp_path))
    with pytest.raises(InputError, match="METABENCH_MINIIMAGENET is not set"):
        mini_imagenet.build(tmp_path)
    monkeypatch.setenv("METABENCH_MINIIMAGENET", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="absent: no such file"):
        mini_imagenet.build(tmp_path)
    monkeypatch.setenv("METABENCH_MINIIMAGENET", str(tmp_path))
    with pytest.raises(InputError, match="no images"):
        mini_imagenet.build(tmp_path)


def test_mini_imagenet_is_found_in_the_mirror_unless_the_variable_says_otherwise(
    tmp_path, monkeypatch, two_each
):
    (tmp_path / "mini_imagenet").mkdir()
    with zipfile.ZipFile(tmp_path / "mini_imagenet/images.zip", "w") as archive:
        for name, content in mini_files().items():
            archive.writestr(name, content)
    monkeypatch.delenv("METABENCH_MINIIMAGENET", raising=False)
    monkeypatch.setenv("METABENCH_MIRROR", str(tmp_path))
    assert len(mini_imagenet.build(tmp_path / "unused").x) == 200
    monkeypatch.setenv("METABENCH_MINIIMAGENET", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="absent: no such file"):
        mini_imagenet.build(tmp_path)


def test_mini_imagenet_refuses_other_than_the_published_number_of_images(
    tmp_path, monkeypatch, two_each
):
    with zipfile.ZipFile(tmp_path / "mini.zip", "w") as archive:
        for name, content in list(mini_files().items())[1:]:
            archive.writestr(name, content)
    monkeypatch.setenv("METABENCH_MINIIMAGENET", str(tmp_path / "mini.zip"))
    with pytest.raises(InputError, match="class n01532829 has 1 images"):
        mini_imagenet.build(tmp_path)
