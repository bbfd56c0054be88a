from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs

from benchmarks.worlds import rank_alarms
from metabench.reports.statistics.ranks import ranking, unit_ranks
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores


def test_average_ranks_and_the_critical_difference_of_demsar() -> None:
    units = pd.DataFrame({"x": [1.0] * 9 + [2.0] * 3, "y": [2.0] * 9 + [1.0] * 3, "z": [3.0] * 12})
    found = ranking(units)
    assert found.ranks.to_dict() == {"x": 1.25, "y": 1.75, "z": 3.0} and found.units == 12
    assert found.critical_difference == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 12)), abs=2e-3)


def test_few_units_have_no_critical_difference() -> None:
    assert ranking(pd.DataFrame(np.ones((9, 4)))).critical_difference is None
    with pytest.raises(ValueError, match="every unit"):
        ranking(pd.DataFrame([[1.0, np.nan]]))


def test_a_unit_is_a_seed_with_episodes_of_its_own() -> None:
    table = np.zeros((2, 2, 4))
    table[0, 0], table[0, 1] = [1, -9, 1, -9], [-9, 1, -9, 1]  # each seed is good on its own share
    found = unit_ranks([Block(("a", "b"), (table,))])
    assert found.to_dict("list") == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_targets_of_one_unit_are_averaged_and_methods_without_one_left_out() -> None:
    draw = np.random.default_rng(0)
    home = Block(("a", "b", "c"), (scores((0.9, 0.5, 0.1), draw, 2, 80),))
    away = Block(("b", "a"), (scores((0.9, 0.5), draw, 2, 80),))
    assert unit_ranks([home, away]).to_dict("list") == {"a": [1.5, 1.5], "b": [1.5, 1.5]}


def test_a_deterministic_method_is_in_every_unit() -> None:
    table = scores((0.9, 0.5), np.random.default_rng(1), 3, 60)
    table[1, 1:] = np.nan
    found = unit_ranks([Block(("a", "b"), (table,), deterministic={"b"})])
    assert found.to_dict("list") == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_units_that_share_nothing_raise_no_false_alarms_and_those_that_share_episodes_do() -> None:
    assert rank_alarms(12, 15, 400) <= 7
    assert rank_alarms(12, 15, 400, own_share=False) > 30


def test_nemenyi_pairs_and_the_critical_difference_agree_with_scikit_posthocs() -> None:
    draw = np.random.default_rng(6)
    scores = pd.DataFrame(draw.random((12, 5)) + np.arange(5) * 0.4, columns=list("abcde"))
    found = ranking(scores.rank(axis=1, ascending=False))
    pairs = scikit_posthocs.posthoc_nemenyi_friedman(scores.to_numpy())
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            gap = abs(found.ranks[a] - found.ranks[b])
            assert (gap > found.critical_difference) == (pairs.iloc[i, j] < 0.05)
