from __future__ import annotations

import numpy as np
import pytest

from benchmarks.worlds import World, recommendation
from metabench.reports.statistics.board import board, recommend, recommended
from metabench.reports.statistics.comparisons import against_best
from metabench.reports.statistics.intervals import estimates
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores

NAMES = ("worse", "good", "best", "noisy")


@pytest.fixture(scope="module")
def block() -> Block:
    table = scores((0.6, 0.8, 0.801, 0.75), np.random.default_rng(0), 6, 3000, (0, 0, 0, 0.06))
    return Block(NAMES, (table,))


def test_a_board_says_of_each_method_how_it_stands(block: Block) -> None:
    found = board(block)
    table = found.table
    assert set(table.index[:2]) == {"best", "good"} and table["mean"].is_monotonic_decreasing
    assert table.loc["worse", "verdict"] == "behind" and table.loc["worse", "low"] > 0.15
    assert table["verdict"].iloc[:2].tolist() == ["best", "tied"]
    assert table.loc["noisy", "verdict"] == "undecided" and table.loc["noisy", "seeds_needed"] > 6
    assert table["seeds_needed"].drop("noisy").isna().all() and 0 < found.detectable < 0.2


def test_only_those_of_one_standing_are_compared(block: Block) -> None:
    found = board(block, among=["worse", "noisy"])
    assert set(found.table.index) == {"worse", "noisy"}
    assert found.table["behind"].min() == 0


def test_the_margin_of_an_error_is_relative() -> None:
    error = scores((0.5, 0.505, 0.6), np.random.default_rng(1), 5, 3000, 0.0001)
    found = board(Block(("a", "b", "c"), (-error,)), relative=True)
    assert found.margin == pytest.approx(0.025, rel=0.1)
    assert found.table["verdict"].tolist() == ["best", "tied", "behind"]


def test_the_cheapest_of_those_tied_with_the_best_is_recommended(block: Block) -> None:
    compared = against_best(estimates(block.moments()))
    cheapest_first = np.array([0.1, 1.0, 2.0, 0.2])
    assert NAMES[recommend(compared, cheapest_first)] == "good"
    cost = dict(zip(NAMES, cheapest_first, strict=True))
    assert recommended(board(block), cost) == "good"
    assert recommended(board(block), cost | {"good": 3.0}) == "best"


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("lead", [0, 2, 5, 25])
def test_a_recommendation_gives_away_no_more_than_the_best_mean(seeds: int, lead: float) -> None:
    found = recommendation(World((2.5,) * 6, seeds, truth=(0, *[-lead] * 5)), 1000)
    assert found["gives away"] <= found["best mean"] + 0.1
    assert found["lost"] <= found["lost by best"] + 1


def test_something_cheaper_is_recommended_where_the_loss_is_bounded() -> None:
    found = recommendation(World((0.2,) * 6, 5, 3000, truth=(0, *[-0.3] * 5)), 300)
    assert found["cheaper"] > 20 and found["gives away"] <= 0.3
    too_much = recommendation(World((0.2,) * 6, 5, 3000, truth=(0, *[-1.5] * 5)), 300)
    assert too_much["cheaper"] < 1


def test_a_board_says_in_words_what_would_decide(block: Block) -> None:
    found = board(block)
    assert found.needed("noisy").removesuffix(" seeds").isdigit()
    table = scores((0.8, 0.8), np.random.default_rng(1), 1, 100)
    last = "ab"[table.mean((1, 2)).argmin()]
    assert board(Block(("a", "b"), (table,))).needed(last) == "three seeds or more"
    certain = board(Block(("a", "b"), (table,), deterministic=("a", "b")))
    assert certain.needed(last).endswith(" episodes")  # seeds decide nothing there
    alone = board(Block(("a",), (table[:1],)))
    assert alone.table["verdict"].tolist() == ["best"] and np.isinf(alone.detectable)
