from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.worlds import SCATTERS, World, coverage
from metabench.reports.statistics.intervals import LEVEL, estimates, half_widths, intervals
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("scatter", [(0,) * 12, (4,) * 12, SCATTERS["12 methods, 0 to 4"]])
def test_the_intervals_of_a_block_cover_the_truth_93_to_97_times_in_100(seeds, scatter) -> None:
    found = coverage(World(scatter, seeds), 1000)
    assert 93 <= found["average"] <= 97.5


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("heavy", [False, True])
def test_the_method_that_varies_most_is_covered_90_times_in_100(seeds: int, heavy: bool) -> None:
    found = coverage(World(SCATTERS["12 methods, one 4 among 1"], seeds, heavy=heavy), 1500)
    assert found["most"] >= (91 if seeds == 10 else 89)
    assert found["width"] < 0.85 or seeds > 3  # of Student's


@pytest.mark.parametrize("name", ["12 methods, 0 to 4", "12 methods, one 4 among 1"])
def test_the_highest_of_twelve_that_guess_is_above_guessing_in_at_most_6_of_100(name: str) -> None:
    moments, _ = World(SCATTERS[name], 3).draw(2000, np.random.default_rng(0))
    above = moments.mean - half_widths(estimates(moments), chances=12) > 0
    assert (
        above.any(1).mean() <= 0.06 < (moments.mean > half_widths(estimates(moments))).any(1).mean()
    )


def test_moderation_alone_would_cover_it_far_less_often() -> None:
    world = World(SCATTERS["12 methods, one 4 among 1"], 3)
    moments, _ = world.draw(1000, np.random.default_rng(0))
    found = estimates(moments)
    bold = replace(found, seeds=replace(found.seeds, own=found.seeds.moderated))
    inside = np.abs(moments.mean) <= half_widths(bold)
    assert inside[:, -1].mean() < 0.85


def test_a_deterministic_method_has_the_t_interval_over_episodes() -> None:
    table = scores((0.7, 0.6), np.random.default_rng(0), episodes=50)
    found = half_widths(estimates(Block(("a", "b"), (table,), deterministic={"a", "b"}).moments()))
    single = Block(("a", "b"), (table[:, :1],), deterministic={"a", "b"})
    expected = stats.sem(table[0, 0]) * stats.t.ppf((1 + LEVEL) / 2, 49)
    assert half_widths(estimates(single.moments()))[0] == pytest.approx(expected)
    assert found.shape == (2,)


def test_seeds_that_nobody_has_repeated_leave_the_interval_open() -> None:
    table = scores((0.7, 0.6), np.random.default_rng(0), seeds=1)
    assert np.isinf(half_widths(estimates(Block(("a", "b"), (table,)).moments()))).all()


def test_with_one_seed_for_all_the_interval_is_that_of_the_episodes() -> None:
    table = scores((0.7, 0.6), np.random.default_rng(0), seeds=1, episodes=50)
    mean, half = intervals(Block(("a", "b"), (table,)))["a"]
    expected = stats.t.interval(LEVEL, 49, table[0, 0].mean(), stats.sem(table[0, 0]))
    assert (mean - half, mean + half) == pytest.approx(expected)


def test_a_bootstrap_over_seeds_and_episodes_agrees_where_seeds_are_many() -> None:
    draw = np.random.default_rng(4)
    table = scores((0.7, 0.6, 0.5), draw, seeds=40, episodes=200)
    found = intervals(Block(("a", "b", "c"), (table,)))
    seeds = draw.multinomial(40, np.full(40, 1 / 40), 2000)
    episodes = draw.multinomial(200, np.full(200, 1 / 200), 2000)
    for method, scored in zip("abc", table, strict=True):
        low, high = np.quantile(((seeds @ scored) * episodes).sum(1) / 8000, [0.025, 0.975])
        assert found[method][1] == pytest.approx((high - low) / 2, rel=0.1)
