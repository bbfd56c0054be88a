from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.worlds import SCATTERS, World, false_alarms, power
from metabench.reports.statistics.comparisons import (
    FAMILY_LEVEL,
    against_best,
    difference,
    family_tail,
    own_tail,
)
from metabench.reports.statistics.intervals import estimates
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores


def compared(table: np.ndarray, **facts: object):
    names = tuple("abcdefgh"[: len(table)])
    return against_best(estimates(Block(names, (table,), **facts).moments()))


def test_tied_behind_and_undecided_are_three_things() -> None:
    draw = np.random.default_rng(0)
    table = scores((0.80, 0.80, 0.60, 0.79), draw, 8, 2000, (0.001, 0.001, 0.001, 0.08))
    table[0] += 0.002 - (table[0] - table[1]).mean()
    found = compared(table)
    assert found.words.tolist()[:3] == ["best", "tied", "behind"]
    noisy = found.words[3]
    assert noisy == "undecided"
    assert found.high[1] <= 0.01 and found.low[2] > 0 and found.high[3] > 0.01


def test_the_interval_of_two_deterministic_methods_is_that_of_the_paired_t_test() -> None:
    table = scores((0.7, 0.6), np.random.default_rng(1), seeds=1, episodes=60)
    found = compared(table, deterministic={"a", "b"})
    gap = (table[0] - table[1])[0]
    half = stats.sem(gap) * stats.t.ppf(1 - FAMILY_LEVEL / 2, 59)
    assert found.difference.mean[1] == pytest.approx(gap.mean())
    assert (found.low[1], found.high[1]) == pytest.approx((gap.mean() - half, gap.mean() + half))


def test_levels_by_hand() -> None:
    assert family_tail(2) == pytest.approx(FAMILY_LEVEL / 2) == pytest.approx(0.0235)
    assert family_tail(2, df=2) == pytest.approx(0.047 / 3)
    assert family_tail(45, df=2) == pytest.approx(0.047 / 3 / 990, rel=0.02)
    assert family_tail(2, df=2, families=6) == pytest.approx(0.047 / 3 / 6, rel=0.02)
    sizes = np.array([2, 3, 4, 45])
    assert own_tail(sizes) == pytest.approx([0.024, 0.016, 0.015, 0.015])
    assert own_tail(sizes, df=2.5) == pytest.approx([0.024, 0.016, 0.008, 0.0075])


def test_a_tie_is_bounded_on_both_sides_also_where_one_end_allows_for_a_choice() -> None:
    table = scores((0.7, 0.7), np.random.default_rng(1), seeds=1, episodes=300)
    table[1] += 0.001 + (table[0] - table[1]).mean()
    names = {"a", "b"}
    found = estimates(Block(("a", "b"), (table,), deterministic=names).moments())
    margin = float(against_best(found).high[0]) + 1e-6
    assert against_best(found, margin).words.tolist() == ["tied", "best"]
    chosen = against_best(found, margin, tries=np.array([1.0, 50.0]))
    assert chosen.high[0] <= margin and chosen.low[0] < -margin
    assert chosen.words.tolist() == ["undecided", "best"]


def test_one_seed_decides_nothing() -> None:
    found = compared(scores((0.9, 0.2), np.random.default_rng(2), seeds=1))
    assert found.words.tolist() == ["best", "undecided"]


def test_methods_that_share_a_learner_are_compared_without_its_luck() -> None:
    draw = np.random.default_rng(3)
    table = scores((0.7, 0.69, 0.5), draw, 4, 3000, 0.0003)
    table[:2] += draw.normal(0, 0.05, (1, 4, 1))
    assert compared(table).words[1] == "undecided"
    shared = compared(table, shared={"a": "backbone", "b": "backbone"})
    assert shared.words[1] == "behind" and shared.words[2] == "behind"


def test_a_smaller_family_decides_more_and_steps_down_to_it() -> None:
    truth = (0, *[-4.0] * 3, *[-40.0] * 20)
    moments, _ = World((1.5,) * 24, 5, truth=truth).draw(300, np.random.default_rng(4))
    found = estimates(moments)
    stepwise = against_best(found, 0.0).behind[:, 1:4].mean()
    gap = difference(found, found.mean.argmax(-1))
    at_once = (gap.mean > gap.half(24))[:, 1:4].mean()
    assert stepwise > at_once + 0.1


def test_many_blocks_at_once_are_many_blocks() -> None:
    moments, _ = World((1.5,) * 4, 3, truth=(0, -2, -5, -9)).draw(20, np.random.default_rng(5))
    together = against_best(estimates(moments), 1.0)
    for i in range(20):
        names = ("mean", "spread", "noise", "episodes", "deviation")
        alone = replace(moments, **{name: getattr(moments, name)[i] for name in names})
        one = against_best(estimates(alone), 1.0)
        assert one.words.tolist() == together.words[i].tolist()
        np.testing.assert_allclose(one.high, together.high[i])


@pytest.mark.parametrize("scatter", [(1.5, 1.5), (1.0, 4.0)])
def test_intervals_of_two_methods_in_twelve_blocks_hold_at_once(scatter) -> None:
    moments, _ = World(scatter, 5).draw(10_000, np.random.default_rng(6))
    behind = against_best(estimates(moments), 1.0, families=12).behind.any(-1)
    assert (
        1 - (1 - behind.mean()) ** 12 <= 0.07
    )  # with other luck in each block: no more is possible


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(
    "name",
    ["2 methods, 1 and 4", "6 methods, 0 to 4", "12 methods, 1", "12 methods, one 4 among 1"],
)
def test_methods_that_are_alike_are_behind_in_at_most_6_blocks_of_100(name, seeds) -> None:
    found = false_alarms(World(SCATTERS[name], seeds), 1000)
    assert found["family"] <= 7.5 and found["comparison"] <= 4


def test_differences_are_found_nearly_as_often_as_by_who_knows_the_variances() -> None:
    found = power(World((1.5,) * 45, 5, truth=(0, *[-5] * 44)), 200)
    assert found["power"] >= 0.8 * found["oracle"] >= 60


def test_three_camps_3_point_5_apart_are_told_with_five_seeds() -> None:
    assert power(World((1.5,) * 3, 5, truth=(0, -3.5, -3.5)), 1000)["power"] >= 73
