"""Vectors of a frozen encoder, computed once per dataset and read by every cell that uses them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel

from metabench.backbones import BACKBONES, build_backbone
from metabench.backbones.base import Backbone
from metabench.config import TaskType
from metabench.data.base import Dataset, header_of
from metabench.files import DAMAGED, InputError, atomic, digest, read_record, write_json
from metabench.pipeline.cell_fingerprints import encoder_fingerprint
from metabench.pipeline.fingerprint import key_of

PART = 2048
"""Examples between two reports of progress."""


class Vectors(BaseModel):
    """What stored vectors were made of, and the digest of their file."""

    key: str
    digest: str


def encoder_of(backbone: str) -> str | None:
    """The encoder whose stored vectors ``backbone`` reads in place of the inputs, if it does."""
    found: str | None = getattr(BACKBONES.load(backbone), "embedded_by", None)
    return found


def encoders_of(task_type: TaskType, methods: Collection[str] | None = None) -> list[str]:
    """The encoders whose vectors learners of ``task_type`` read: of these methods, or of all."""
    names = task_type.methods if methods is None else methods
    found = {encoder_of(task_type.backbone_of(name).name) for name in names}
    return sorted(filter(None, found))


def embedding_key(processed: Path, encoder: str) -> str:
    """Key of the vectors of the dataset in ``processed``."""
    return key_of(data=header_of(processed).digest, fingerprint=encoder_fingerprint(encoder))


@cache
def build_encoder(name: str) -> Backbone:
    """The encoder with its weights, loaded once a process; it takes texts of any length."""
    return build_backbone(name, (0,), tune=0)


def embed(encoder: Backbone, x: np.ndarray) -> np.ndarray:
    """Features ``[N, D]`` float32 of examples ``x`` ``[N, ...]``; the encoder makes batches."""
    with torch.no_grad():
        vectors: np.ndarray = encoder.eval()(torch.from_numpy(np.array(x))[None])[0].float().numpy()
    return vectors


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
    encoder: str,
    report: Callable[[float, str], None] = lambda share, text: None,
) -> None:
    """Write ``folder/<encoder>.npy`` and its record, unless they are there and still right."""
    path, key = folder / f"{encoder}.npy", embedding_key(processed, encoder)
    if is_embedded(path, key):
        return
    x, parts = Dataset.load(processed).x, []
    for start in range(0, len(x), PART):
        report(start / len(x), f"{len(x)} examples")
        parts.append(embed(build_encoder(encoder), x[start : start + PART]))
    with atomic(path) as temporary:
        np.save(temporary, np.concatenate(parts), allow_pickle=False)
    write_json(path.with_suffix(".json"), {"key": key, "digest": digest(path)})


def with_vectors(dataset: Dataset, folder: Path, encoder: str) -> Dataset:
    """The dataset with the encoder's vectors as its examples.

    Raises:
        InputError: they are missing, damaged or of another number of examples.
    """
    path = folder / f"{encoder}.npy"
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(vectors) != len(dataset.x):
            raise ValueError(f"{len(vectors)} vectors for {len(dataset.x)} examples")
    except DAMAGED as error:
        raise InputError(
            f"{path}: damaged or missing vectors ({error}). Delete it and run `dvc repro`."
        ) from error
    return replace(dataset, x=vectors)
