"""Datasets of torch, and ones with the columns of Hugging Face's, as datasets of metabench."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from metabench.data.examples import from_examples
from metabench.data.text import tokenise
from metabench.files import InputError


class Shades(torch.utils.data.Dataset):
    """Map-style, as torchvision's: image ``i`` is all of grey ``10 * i``, and there is no end."""

    classes = ("even", "odd")

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.make(np.full((4, 5), 10 * i, np.uint8)), i % 2


class Columns(list):
    """As a split of Hugging Face's: mappings, and features that name the classes."""

    features: ClassVar = {
        "topic": SimpleNamespace(names=["sport", "weather", "none"]),
        "text": None,
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda grey: grey,
        Image.fromarray,
        lambda grey: torch.from_numpy(grey)[None],
        lambda grey: torch.from_numpy(grey)[None].float() / 255,
        lambda grey: torch.from_numpy(grey).expand(3, -1, -1),
    ],
    ids=["array", "pil", "uint8", "float", "colour"],
)
def test_images_of_a_torch_dataset_are_stored_whatever_they_are_made_of(make) -> None:
    found = from_examples("shades", Shades(make), shape=(1, 4, 5))
    np.testing.assert_array_equal(
        found.x, np.arange(0, 60, 10).reshape(6, 1, 1, 1) + np.zeros((1, 1, 4, 5))
    )
    assert found.x.dtype == np.uint8 and found.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert [(c.name, c.partition) for c in found.classes] == [("even", "test"), ("odd", "test")]


def test_images_take_the_size_of_the_first_where_none_is_given() -> None:
    pairs = [(np.zeros((6, 8, 3), np.uint8), "a"), (np.full((12, 16), 90, np.uint8), "b")]
    found = from_examples("sizes", iter(pairs))
    assert found.x.shape == (2, 3, 6, 8) and (found.x[1] == 90).all()
    assert [c.name for c in found.classes] == ["a", "b"]


def test_texts_of_columns_are_tokenised_with_the_names_and_partitions_of_their_classes() -> None:
    texts = ["rain in the north", "two goals", "rain in the north", "sun"]
    rows = Columns({"text": t, "topic": k} for t, k in zip(texts, [1, 0, 1, 1], strict=True))
    partitions = {"sport": "train", "weather": "val", "none": "test"}
    found = from_examples("news", rows, "text", "topic", "text", partitions=partitions)
    np.testing.assert_array_equal(found.x, tokenise([texts[0], texts[1], texts[3]]))
    assert [(c.name, c.partition) for c in found.classes] == [
        ("sport", "train"),
        ("weather", "val"),
    ]
    assert found.y.tolist() == [1, 0, 1]


def test_vectors_are_stored_as_they_are() -> None:
    x = torch.randn(5, 3, dtype=torch.float64)
    found = from_examples("v", TensorDataset(x, torch.tensor([7, 3, 3, 7, 3])), kind="vector")
    np.testing.assert_array_equal(found.x, x.numpy().astype(np.float32))
    assert found.y.tolist() == [1, 0, 0, 1, 0] and [c.name for c in found.classes] == ["3", "7"]


GREY = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("examples", "options", "message"),
    [
        ({"train": [], "test": []}, {}, "several splits .'train', 'test'.. Give one of them"),
        ([], {}, "no examples"),
        ([{"img": GREY, "label": 0}], {}, "example 0 has no 0 and 1, but 'img', 'label'"),
        ([(GREY, 0), (GREY,)], {}, "example 1 has no"),
        ([(GREY, 0), (GREY - 2.0, 0)], {}, "image 1: its values go from -2 to -2"),
        ([(GREY, -1)], {"classes": ["cat"]}, "label -1 has no name in classes"),
        ([(GREY, 0)], {"partitions": {}}, "partitions does not say where '0' belongs"),
    ],
)
def test_what_is_no_dataset_is_refused_by_name(examples, options, message) -> None:
    with pytest.raises(InputError, match=f"^dataset mine: .*{message}"):
        from_examples("mine", examples, **options)
