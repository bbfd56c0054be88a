"""Every closed-form or convex head with 77 ways, 10 shots and 384 dimensions: by Cholesky alone."""

from __future__ import annotations

import functools

import pytest
import torch

from metabench.backbones.mlp import MLP
from metabench.episodes import Episodes
from metabench.methods import METHODS
from metabench.methods.base import Task
from metabench.methods.parts import cholesky, logistic

WAYS, SHOTS, DIM, QUERIES = 77, 10, 384, 20
HEADS = ("ridge", "r2d2", "linear_probe", "mahalanobis", "frn", "metaoptnet")


@pytest.fixture
def no_lu(monkeypatch) -> None:
    """A batched LU, which fails on some processors only, fails here as well."""

    def fail(*arguments, **options):
        raise RuntimeError("LU")

    for name in ("solve", "inv", "lu", "lu_factor", "lu_factor_ex", "det", "slogdet"):
        monkeypatch.setattr(torch.linalg, name, fail)


def task(maps: bool) -> Episodes:
    """Classes apart by more than their spread, in vectors or in maps of one position."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(WAYS).repeat_interleave(SHOTS)
    centres = torch.randn(WAYS, DIM, generator=g)
    support = centres[labels] + torch.randn(len(labels), DIM, generator=g)
    query = centres[:QUERIES] + torch.randn(QUERIES, DIM, generator=g)
    found = Episodes(support[None], labels[None], query[None], torch.arange(QUERIES)[None], WAYS)
    return found.map(lambda x: x[..., None]) if maps else found


@pytest.mark.parametrize("name", HEADS)
def test_a_head_answers_with_77_ways_and_10_shots(name, no_lu, monkeypatch) -> None:
    monkeypatch.setattr(logistic, "logistic", functools.partial(logistic.logistic, limit=9))
    cls, episodes = METHODS.load(name), task(maps=name == "frn")
    backbone = MLP((4,), (DIM,))
    settings = cls.Settings(**({"iterations": 3} if name == "metaoptnet" else {}))
    with torch.no_grad():
        answers = cls(backbone, Task("vector", WAYS, 100), settings).classify(episodes)  # type: ignore[operator]
    assert answers.shape == (1, QUERIES, WAYS) and answers.isfinite().all()
    assert (answers.argmax(-1) == episodes.query_y).float().mean() > 0.9


def test_a_solution_is_that_of_lu_and_a_matrix_that_is_not_definite_has_none() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 6, n, generator=g, dtype=torch.float64) for n in (6, 2))
    matrix = x @ x.mT + 0.1 * torch.eye(6)
    torch.testing.assert_close(cholesky.solve(matrix, y), torch.linalg.solve(matrix, y))
    matrix[1] -= 100 * torch.eye(6)
    found = cholesky.solve(matrix, y)
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()
