"""The expected best of n trials, against all ways of drawing n, and the order that it gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from metabench.reports.statistics.search import curve, expected_best, is_decided, order_of_camps

SCORES = [0.31, 0.72, 0.5, 0.72, 0.05, 0.66, 0.4]


@pytest.mark.parametrize("n", range(1, 8))
def test_the_expected_best_is_the_mean_over_all_subsets(n) -> None:
    brute = np.mean([max(drawn) for drawn in itertools.combinations(SCORES, n)])
    assert expected_best(SCORES, n) == pytest.approx(brute, rel=1e-12)


def test_it_is_unbiased_for_a_known_distribution() -> None:
    draw = np.random.default_rng(0)  # of n uniform numbers the largest is n / (n + 1)
    found = [expected_best(draw.random(32), 8) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(8 / 9, abs=4 * np.std(found) / np.sqrt(2000))


@pytest.mark.parametrize("n", [0, 8])
def test_more_trials_than_there_are_have_no_expectation(n) -> None:
    with pytest.raises(ValueError, match=f"{n} of 7"):
        expected_best(SCORES, n)


def test_a_search_begins_with_the_default_settings() -> None:
    first, *rest = SCORES
    brute = [first] + [
        np.mean([max(first, *drawn) for drawn in itertools.combinations(rest, n - 1)])
        for n in range(2, 8)
    ]
    found = curve(SCORES)
    assert found == pytest.approx(brute) and (np.diff(found) >= 0).all()
    assert found[-1] == pytest.approx(max(SCORES))


def test_an_order_that_still_changes_at_the_end_is_undecided() -> None:
    early, late = np.full(32, 0.6), np.linspace(0.5, 0.7, 32)
    camps = {"a": "transfer", "b": "meta-learning", "c": "meta-learning", "d": ""}
    curves = {"a": early, "b": late, "c": late - 0.2, "d": early + 1}
    orders = order_of_camps(curves, camps)
    assert list(orders) == [4, 8, 16, 32]
    assert [orders[n][0][:2] for n in orders] == [("transfer", "a")] * 3 + [("meta-learning", "b")]
    assert not is_decided(orders)
    assert is_decided({n: orders[n] for n in (4, 8, 16)})
    assert not is_decided({4: orders[4]})  # nothing to compare it with


def test_a_method_that_has_tried_all_its_settings_keeps_its_score_in_the_order() -> None:
    curves = {"a": np.full(32, 0.6), "b": np.linspace(0.5, 0.7, 10)}
    orders = order_of_camps(curves, {"a": "transfer", "b": "meta-learning"})
    assert list(orders) == [4, 8, 16, 32]
    assert orders[32][0] == orders[16][0] == ("meta-learning", "b", pytest.approx(0.7))
    assert order_of_camps({}, {}) == {}
