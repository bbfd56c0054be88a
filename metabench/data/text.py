"""Texts as arrays: word pieces, duplicates, partitions.

Every text dataset holds ids of the 30,522 English word pieces of BERT (Devlin et al. 2019), which
is also the vocabulary of MiniLM. It lies beside this file (Apache 2.0), so that datasets and the
from-scratch encoder need no language model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from metabench import rng
from metabench.data.base import ClassInfo, Dataset, Partition
from metabench.files import InputError

VOCABULARY = Path(__file__).with_name("wordpieces.txt")
PIECES = 30522
PAD, UNKNOWN, CLS, SEP = 0, 100, 101, 102
DRAWS = 3
"""Support sets drawn for each all-way setting."""
ALL_WAY_SHOTS = (1, 5, 10)

_log = logging.getLogger(__name__)


@cache
def _tokenizer() -> Any:
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError as error:
        raise InputError(
            "text needs the package `tokenizers`: pip install 'metabench[text]'"
        ) from error
    return BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)


def tokenise(texts: Sequence[str], length: int = 64) -> np.ndarray:
    """Word-piece ids ``[N, L]`` int32: ``[CLS] … [SEP]``, padded with 0.

    A text of any script is read (what has no piece is ``[UNK]``); one without content is ``[CLS]
    [SEP]``; one that is too long loses its end.

    Args:
        texts: N texts.
        length: the most pieces to keep, both marks included; ``L`` is that of the longest text.
    """
    encoded = [e.ids for e in _tokenizer().encode_batch(list(texts))]
    cut = sum(len(ids) > length for ids in encoded)
    if cut:
        _log.info("%d of %d texts have more than %d word pieces: cut", cut, len(texts), length)
    x = np.full((len(encoded), min(length, max(map(len, encoded), default=2))), PAD, np.int32)
    for row, ids in zip(x, encoded, strict=True):
        kept = ids if len(ids) <= len(row) else [*ids[: len(row) - 1], SEP]
        row[: len(kept)] = kept
    return x


def distinct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep, so that each text stands once, and the kept row of every text.

    Of equal texts the first is kept. A text that stood in support and query of one episode would
    be answered from memory.

    Returns:
        ``kept`` ``[M]``, indices into ``x``; ``row`` ``[N]``, indices into ``kept``.
    """
    _, first, group = np.unique(x, axis=0, return_index=True, return_inverse=True)
    kept = np.sort(first)
    return kept, np.searchsorted(kept, first[group.ravel()])


def assign(names: Sequence[str], sizes: Mapping[Partition, int], draw: str) -> dict[str, Partition]:
    """A partition for each name, drawn by ``draw``: so many names for each partition."""
    order = rng.generator("text", draw).permutation(len(names))
    parts = [part for part, size in sizes.items() for _ in range(size)]
    assert len(parts) == len(names), f"{draw}: {len(parts)} places for {len(names)} names"
    return {names[i]: part for i, part in zip(order, parts, strict=True)}


def pack(
    name: str,
    labelled: Sequence[tuple[str, str]],
    classes: Mapping[str, ClassInfo],
    length: int,
    test: slice | None = None,
    train: slice | None = None,
) -> Dataset:
    """A dataset of distinct texts.

    With ``test`` and ``train``, the lines of the official files, it also has the practitioner's
    setting: all classes at once, support drawn from the official training lines, queries the whole
    official test. Test lines must come first, so that of equal texts the test's is kept.

    Args:
        labelled: ``(text, label)``; a label is a key of ``classes``.
    """
    index = {label: i for i, label in enumerate(classes)}
    tokens = tokenise([text for text, _ in labelled], length)
    labels = np.array([index[label] for _, label in labelled])
    kept, row = distinct(tokens)
    if len(kept) < len(row):
        other = int((labels[kept][row] != labels).sum())
        _log.info(
            "%s: %d repeated texts left out (%d with another label)",
            name,
            len(row) - len(kept),
            other,
        )
    x, y = tokens[kept], labels[kept]
    fixed = {}
    if test is not None and train is not None:
        queries = [row[test][labels[test] == c] for c in range(len(index))]
        pool = np.setdiff1d(row[train], row[test])
        for shots in ALL_WAY_SHOTS:
            label = f"test-{len(index)}w{shots}s"
            fixed[label] = np.stack(
                [
                    _all_way(pool, y, queries, shots, rng.generator(name, label, "episode", e))
                    for e in range(DRAWS)
                ]
            )
    return Dataset(name, "text", x, y, tuple(classes.values()), fixed)


def _all_way(
    pool: np.ndarray,
    y: np.ndarray,
    queries: Sequence[np.ndarray],
    shots: int,
    draw: np.random.Generator,
) -> np.ndarray:
    """One episode of all classes, ``[ways, shots + queries]``."""
    return np.stack(
        [
            np.concatenate([draw.permutation(pool[y[pool] == c])[:shots], queries[c]])
            for c in range(len(queries))
        ]
    )
