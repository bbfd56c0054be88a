"""Texts as arrays: word pieces, duplicates, partitions.

Every text dataset holds ids of the 30,522 English word pieces of BERT (Devlin et al. 2019), which
is also the vocabulary of MiniLM. It lies beside this file (Apache 2.0), so that datasets and the
from-scratch encoder need no language model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from metabench import rng
from metabench.data.base import LENGTH, ClassInfo, Dataset, Partition
from metabench.data.formats import MARKS
from metabench.files import InputError

VOCABULARY = Path(__file__).with_name("wordpieces.txt")
PIECES = 30522
PAD, CLS, SEP = MARKS
UNKNOWN = 100
PART = 4096
"""Texts that are taken apart at once: the tokeniser says much about each."""
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
    tokenizer = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
    tokenizer._tokenizer.encode_special_tokens = True  # "[PAD]" in a text is text
    return tokenizer


@dataclass(frozen=True)
class Tokens:
    """Texts as a learner reads them.

    Attributes:
        x: word-piece ids ``[N, L]`` int32: ``[CLS] … [SEP]``, padded with 0.
        cut: ``[N]``, texts that lost their end, having more pieces than ``length``.
    """

    x: np.ndarray
    cut: np.ndarray
    length: int

    @property
    def empty(self) -> np.ndarray:
        """``[N]``, texts without a piece."""
        return ~(self.x > SEP).any(1) & ~(self.x == UNKNOWN).any(1)

    @property
    def unknown(self) -> np.ndarray:
        """``[N]``, texts of nothing but ``[UNK]``: to a learner they differ in length alone."""
        return np.isin(self.x, (PAD, CLS, SEP, UNKNOWN)).all(1) & ~self.empty

    def remarks(self) -> list[str]:
        """What a learner does not see of the texts."""
        lost = {
            f"have more than {self.length} word pieces, the end of these is not read": self.cut,
            "hold words that the English vocabulary does not know": (self.x == UNKNOWN).any(1),
        }
        return [f"{n.sum()} of {len(n)} texts {what}" for what, n in lost.items() if n.any()]


def tokens_of(texts: Sequence[str], length: int = LENGTH) -> Tokens:
    """Texts as word pieces.

    A text of any script is read (what has no piece is ``[UNK]``); one without content is ``[CLS]
    [SEP]``; one that is too long loses its end.

    Args:
        texts: N texts.
        length: the most pieces to keep, both marks included; ``L`` is that of the longest text.

    Raises:
        ValueError: a text has half a surrogate pair.
    """
    kept: list[np.ndarray] = []
    cut = np.zeros(len(texts), bool)
    for start in range(0, len(texts), PART):
        part = list(texts[start : start + PART])
        try:
            encoded = [found.ids for found in _tokenizer().encode_batch(part)]
        except TypeError as error:
            raise ValueError("a text has half a surrogate pair, which is no character") from error
        cut[start : start + PART] = [len(ids) > length for ids in encoded]
        whole = [ids if len(ids) <= length else [*ids[: length - 1], SEP] for ids in encoded]
        kept += [np.array(ids, np.int32) for ids in whole]
    x = np.full((len(kept), max(map(len, kept), default=2)), PAD, np.int32)
    for row, ids in zip(x, kept, strict=True):
        row[: len(ids)] = ids
    return Tokens(x, cut, length)


def tokenise(texts: Sequence[str], length: int = LENGTH) -> np.ndarray:
    """Word-piece ids ``[N, L]`` int32 of N texts, see :func:`tokens_of`."""
    return tokens_of(texts, length).x


def texts_of(x: np.ndarray) -> list[str]:
    """The texts of word-piece ids ``[N, L]``, as far as pieces keep them.

    They are in lower case, without accents, without what was cut and without ``[UNK]``.
    """
    texts: list[str] = _tokenizer().decode_batch([[int(i) for i in row if i != PAD] for row in x])
    return texts


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


def assign(
    names: Sequence[str], sizes: Mapping[Partition, int], draw: str, split: int = 0
) -> dict[str, Partition]:
    """A partition for each name, drawn by ``draw``: so many names for each partition."""
    name = ("text", draw, split) if split else ("text", draw)
    order = rng.generator(*name).permutation(len(names))
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
    tokens = tokens_of([text for text, _ in labelled], length)
    labels = np.array([index[label] for _, label in labelled])
    kept, row = distinct(tokens.x)
    for remark in tokens.remarks():
        _log.warning("%s: %s", name, remark)
    if len(kept) < len(row):
        again = np.setdiff1d(np.arange(len(row)), kept)
        _log.warning(
            "%s: %d repeated texts left out (%d with another label, %d of cut ones)",
            name,
            len(again),
            (labels[kept][row] != labels).sum(),
            tokens.cut[again].sum(),
        )
    x, y = tokens.x[kept], labels[kept]
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
