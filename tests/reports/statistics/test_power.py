from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.worlds import World, enough_seeds, power
from metabench.reports.statistics.comparisons import against_best
from metabench.reports.statistics.intervals import estimates
from metabench.reports.statistics.power import data_to_decide, detectable
from metabench.reports.statistics.tables import Block


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_board_detects_what_it_says_it_does(seeds: int) -> None:
    world = World((1.5,) * 12, seeds, truth=(0, *[-5.0] * 11))
    says = power(world, 300)["detectable"]
    assert power(replace(world, truth=(0, *[-says] * 11)), 600)["power"] >= 75


def test_a_board_detects_nothing_where_nothing_can_be_told_apart() -> None:
    moments, _ = World((1.5,) * 3, 3).draw(2, np.random.default_rng(0))
    one_seed = replace(moments, seeds=np.ones(3, int))
    assert np.isinf(detectable(against_best(estimates(one_seed)))).all()
    assert np.isfinite(detectable(against_best(estimates(moments)))).all()


def test_where_nothing_varies_any_difference_is_detected() -> None:
    block = Block(("a", "b"), (np.full((2, 1, 50), 0.5),), deterministic={"a", "b"})
    with np.errstate(all="raise"):
        assert detectable(against_best(estimates(block.moments()))) == pytest.approx(0)


def test_more_seeds_decide_what_was_undecided() -> None:
    seeds, decided = enough_seeds(World((1.5,) * 12, 3, 2000, truth=(0, *[-3.0] * 11)), 40)
    assert 5 <= seeds <= 30 and decided >= 80


def test_where_episodes_are_few_more_of_them_are_asked_for() -> None:
    world = World((0,) * 3, 3, 50, truth=(0, -0.5, -30))
    moments, _ = world.draw(50, np.random.default_rng(0))
    still = replace(
        moments, deterministic=np.ones(3, bool), mean=np.tile([0.0, -0.5, -30.0], (50, 1))
    )
    compared = against_best(estimates(still), 1.0)
    assert compared.words[0].tolist() == ["best", "undecided", "behind"]
    need, times = data_to_decide(compared, 3, 1.0)
    assert (need[:, 1] == 3).mean() > 0.9 and (times[:, 1] >= 16).all()
    assert (need[:, 2] == 3).all() and (times[:, 2] == 1).all()
