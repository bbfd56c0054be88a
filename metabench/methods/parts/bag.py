"""Bags of words: TF-IDF vectors of word pieces, fitted on one task's support alone."""

from __future__ import annotations

import itertools
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from metabench.data.formats import MARKS


def _terms(row: list[int]) -> list[str]:
    """Pieces and pairs of neighbouring pieces."""
    pieces = [str(i) for i in row if i not in MARKS]
    return pieces + [f"{a} {b}" for a, b in itertools.pairwise(pieces)]


def tfidf(support: Tensor, query: Tensor) -> tuple[Any, Any]:
    """Sparse unit rows of ids ``[S, L]`` and ``[Q, L]``; idf and vocabulary are the support's.

    A support without any piece has one constant term, so that there is something to fit.
    """
    vectors = TfidfVectorizer(analyzer=_terms, sublinear_tf=True)
    rows = support.tolist()
    try:
        known = vectors.fit_transform(rows)
    except ValueError:  # no piece in any of them
        vectors = TfidfVectorizer(analyzer=lambda row: ["nothing"])
        known = vectors.fit_transform(rows)
    return known, vectors.transform(query.tolist())
