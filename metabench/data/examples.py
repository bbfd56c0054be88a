"""Labelled examples of any origin, such as torch's or Hugging Face's datasets, as a dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from metabench.data.base import LENGTH, ClassInfo, Dataset, Partition
from metabench.data.images import as_batch, decode
from metabench.data.text import pack
from metabench.files import InputError

_log = logging.getLogger(__name__)


def from_examples(
    name: str,
    examples: Iterable[Any],
    x: int | str = 0,
    y: int | str = 1,
    kind: Literal["image", "text", "vector"] = "image",
    classes: Sequence[str] = (),
    partitions: Mapping[str, Partition] | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Dataset:
    """A dataset of labelled examples.

    Args:
        name: that of the ``Builder``.
        examples: pairs or mappings, such as a map-style ``torch.utils.data.Dataset`` of (image,
            label), or one split of a Hugging Face dataset, whose examples are columns by name.
        x: where an example has its input: an image of any make that
            :func:`metabench.data.images.read_image` takes, a text, or numbers ``[D]``.
        y: where it has its label: a number or a text.
        classes: their names, by number; default: what ``examples`` say (``features[y].names`` or
            ``classes``), else the labels themselves.
        partitions: of each class, by name; default: all are ``test``, for a target.
        shape: ``(C, H, W)`` that images are brought to; default: that of the first.

    Raises:
        InputError: naming the example or the class that cannot be used.
    """
    if isinstance(examples, Mapping):
        splits = ", ".join(map(repr, examples))
        raise InputError(f"dataset {name}: these are several splits ({splits}). Give one of them")
    pairs = [_pair(name, i, example, x, y) for i, example in enumerate(_each(examples))]
    if not pairs:
        raise InputError(f"dataset {name}: there are no examples")
    names = dict(enumerate(classes or _names(examples, y)))
    found: dict[Any, ClassInfo] = {}
    for label in sorted({label for _, label in pairs}):
        title = names.get(label) if names else str(label)
        if title is None:
            raise InputError(f"dataset {name}: label {label!r} has no name in classes")
        part = "test" if partitions is None else partitions.get(title)
        if part is None:
            raise InputError(f"dataset {name}: partitions does not say where '{title}' belongs")
        found[label] = ClassInfo(title, name, part)
    if kind == "text":
        return pack(name, pairs, found, LENGTH)
    inputs, index = [x for x, _ in pairs], {label: i for i, label in enumerate(found)}
    data = _images(name, inputs, shape) if kind == "image" else np.array(inputs, np.float32)
    return Dataset(name, kind, data, np.array([index[y] for _, y in pairs]), tuple(found.values()))


def _each(examples: Any) -> Iterator[Any]:
    """All examples. A dataset of torch has a length and need not say otherwise where it ends."""
    if hasattr(examples, "__getitem__") and hasattr(examples, "__len__"):
        return (examples[i] for i in range(len(examples)))
    return iter(examples)


def _pair(name: str, number: int, example: Any, x: int | str, y: int | str) -> tuple[Any, Any]:
    """Input and label of an example."""
    try:
        label = example[y]
        return example[x], label.item() if hasattr(label, "item") else label
    except (LookupError, TypeError) as error:
        has = ", ".join(map(repr, example)) if isinstance(example, Mapping) else type(example)
        raise InputError(
            f"dataset {name}: example {number} has no {x!r} and {y!r}, but {has}. Say where input "
            "and label are by x and y"
        ) from error


def _names(examples: Any, y: int | str) -> list[str]:
    """Names of the classes, where Hugging Face's or torchvision's datasets have them."""
    feature = dict(getattr(examples, "features", None) or {}).get(y)
    return list(getattr(feature, "names", None) or getattr(examples, "classes", None) or ())


def _images(name: str, images: list[Any], shape: tuple[int, ...] | None) -> np.ndarray:
    try:
        batch = as_batch(images, shape or decode(images[0]).shape)
    except ValueError as error:
        raise InputError(f"dataset {name}: {error}") from error
    for loss, count in batch.losses.items():
        _log.warning("%s: %d of %d images are %s", name, count, len(images), loss)
    return batch.x.numpy()
