"""Vectors of a frozen encoder, computed once per dataset and read by every cell that uses them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel

from metabench.backbones import BACKBONES, build_backbone
from metabench.backbones.frozen import Encoder, Frozen
from metabench.config import BackboneChoice, TaskType
from metabench.data.base import Dataset, header_of
from metabench.data.formats import to_input
from metabench.files import DAMAGED, InputError, atomic, digest, read_record, write_json
from metabench.pipeline.cell_fingerprints import TEXTS, encoder_fingerprint
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.validation import validate_backbone

Report = Callable[[float, str], None]
"""Told of progress: the share that is done, and a text."""


def silent(share: float, text: str) -> None:
    """Nobody is told."""


class Vectors(BaseModel):
    """What stored vectors were made of, and the digest of their file."""

    key: str
    digest: str


def is_frozen(choice: BackboneChoice) -> bool:
    """Whether the backbone reads stored vectors in place of a dataset's examples."""
    return issubclass(BACKBONES.load(choice.name), Frozen)


def encoders_of(
    task_type: TaskType, methods: Collection[str] | None = None
) -> dict[str, BackboneChoice]:
    """The frozen backbones of learners of ``task_type``, by the name of their files.

    Args:
        methods: of these alone; of all by default.
    """
    names = task_type.methods if methods is None else methods
    choices = {task_type.backbone_of(name) for name in names}
    found = {file_name(choice): choice for choice in choices if is_frozen(choice)}
    return dict(sorted(found.items()))


def file_name(frozen: BackboneChoice) -> str:
    """``minilm_frozen``; settings beyond the defaults are in a digest after it."""
    settings = validate_backbone(frozen, f"params.yaml: {frozen.name}")
    name = frozen.name.replace(":", ".")
    return f"{name}-{key_of(**settings)[:10]}" if settings else name


def vectors_path(folder: Path, frozen: BackboneChoice) -> Path:
    """Where in a dataset's ``folder`` the vectors are."""
    return folder / f"{file_name(frozen)}.npy"


def embedding_key(processed: Path, frozen: BackboneChoice) -> str:
    """Key of the vectors of the dataset in ``processed``."""
    return key_of(data=header_of(processed).digest, fingerprint=encoder_fingerprint(frozen))


@cache
def _encoder(choice: BackboneChoice, shape: tuple[int, ...]) -> tuple[Frozen, Encoder]:
    """The encoder of examples of ``shape`` with its weights, loaded once a process."""
    frozen = build_backbone(choice.name, (0,), **choice.settings)
    assert isinstance(frozen, Frozen)
    return frozen, frozen.encoder(shape)


def embed(frozen: BackboneChoice, x: np.ndarray, report: Report = silent) -> np.ndarray:
    """Vectors ``[N, D]`` float32 of stored examples ``x`` ``[N, ...]``, N > 0.

    Raises:
        InputError: see :meth:`~metabench.backbones.frozen.Frozen.encoder`.
    """
    images = x.ndim == 4  # texts are of any length
    backbone, encode = _encoder(frozen, x.shape[1:] if images else ())
    texts = import_module(TEXTS).texts_of if backbone.reads_texts else None
    parts = []
    for start in range(0, len(x), backbone.batch):
        report(start / len(x), f"{start} of {len(x)} examples")
        part = np.array(x[start : start + backbone.batch])
        read = texts(part) if texts else to_input(torch.from_numpy(part))
        parts.append(encode(read).float().numpy())
    return np.concatenate(parts)


def is_embedded(path: Path, key: str, digest_of: Callable[[Path], str] = digest) -> bool:
    """Whether ``path`` holds the vectors that ``key`` stands for, undamaged."""
    try:
        record = read_record(path.with_suffix(".json"), Vectors)
        return record.key == key and record.digest == digest_of(path)
    except (InputError, OSError):
        return False


def embed_dataset(
    processed: Path,
    folder: Path,
    frozen: BackboneChoice,
    report: Report = silent,
) -> None:
    """Write the vectors and their record, unless they are there and still right."""
    path, key = vectors_path(folder, frozen), embedding_key(processed, frozen)
    if is_embedded(path, key):
        return
    vectors = embed(frozen, Dataset.load(processed).x, report)
    with atomic(path) as temporary:
        np.save(temporary, vectors, allow_pickle=False)
    write_json(path.with_suffix(".json"), {"key": key, "digest": digest(path)})


def with_vectors(dataset: Dataset, folder: Path, frozen: BackboneChoice) -> Dataset:
    """The dataset with stored vectors as its examples.

    Raises:
        InputError: they are missing, damaged or of another number of examples.
    """
    path = vectors_path(folder, frozen)
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(vectors) != len(dataset.x):
            raise ValueError(f"{len(vectors)} vectors for {len(dataset.x)} examples")
    except DAMAGED as error:
        raise InputError(
            f"{path}: damaged or missing vectors ({error}). Delete it and run `dvc repro`."
        ) from error
    return replace(dataset, x=vectors)
