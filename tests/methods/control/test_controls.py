"""Controls: majority, oracle and nearest neighbour, against what they must say by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metabench.data.sinusoid import harmonics, sinusoid
from metabench.episodes import Episodes
from metabench.methods.control.majority import Majority
from metabench.methods.control.nearest_neighbour import NearestNeighbour
from metabench.methods.control.oracle import Oracle, OracleSettings
from tests.methods.small import WAYS, build, episodes


def test_majority_predicts_smoothed_frequencies_whatever_the_query() -> None:
    batch = episodes(support=7)
    found = build(Majority, Majority.Settings()).predict(batch).softmax(-1)
    for t in range(len(batch)):
        counts = torch.bincount(batch.support_y[t], minlength=WAYS)
        expected = (counts + 1) / (7 + WAYS)
        for q in range(batch.query_x.shape[1]):
            torch.testing.assert_close(found[t, q], expected.double())


def test_majority_predicts_the_mean_target_of_a_regression() -> None:
    batch = episodes(regression=True)
    found = build(Majority, Majority.Settings(), outputs=1).predict(batch)
    assert found.shape == batch.query_y.shape
    torch.testing.assert_close(found[1, 2], batch.support_y[1].mean(0))


def drawn(family, shots: int) -> Episodes:
    x, y = family(20, shots + 30, np.random.default_rng(0))
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    return Episodes(tx[:, :shots], ty[:, :shots], tx[:, shots:], ty[:, shots:], None)


@pytest.mark.parametrize(
    ("family", "settings", "shots", "bound"),
    [
        (sinusoid, OracleSettings(), 5, 1e-6),
        (harmonics, OracleSettings(harmonics=2, low=0.5, high=2.0), 20, 1e-3),
    ],
)
def test_the_oracle_recovers_the_function(family, settings, shots, bound) -> None:
    batch = drawn(family, shots)
    found = build(Oracle, settings, outputs=1).predict(batch)
    error = (found - batch.query_y).square().flatten(1).mean(1)
    assert error.median() < bound
    assert error.mean() < 0.05 * batch.query_y.var()


def test_the_nearest_neighbour_is_found_by_a_loop() -> None:
    batch = episodes(support=8)
    logits = build(NearestNeighbour, NearestNeighbour.Settings()).predict(batch)
    for t in range(len(batch)):
        for q, x in enumerate(batch.query_x[t]):
            distances = [(x - s).norm().item() for s in batch.support_x[t]]
            assert logits[t, q].argmax() == batch.support_y[t, int(np.argmin(distances))]


def test_a_class_without_support_is_never_the_nearest() -> None:
    batch = episodes(support=4)
    batch.support_y[:] = 1
    logits = build(NearestNeighbour, NearestNeighbour.Settings()).predict(batch)
    assert (logits.argmax(-1) == 1).all() and logits.isfinite().all()
