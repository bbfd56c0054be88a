"""Boards of several budgets: the main one first, verdicts within a level, curves over levels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from metabench.config import Level
from metabench.reports.leaderboard import write_reports
from metabench.reports.levels import at_main, levels_in
from metabench.reports.reproduction import read_board
from tests.reports.synthetic import META, made_up, summary_of

LEVELS = {Level(5_000): 0.5, Level(20_000): 0.8, Level(80_000): 0.9, Level(20_000, 0.1): 0.6}
"""The accuracy that protonet has at each."""


def of(level: Level, skill: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and records at one level."""
    methods = {"protonet": ("metric", skill), "linear_probe": ("feature", 0.7)}
    results, costs = made_up(methods, targets=("glyphs",), shots=(1,), episodes=20)
    where = {"examples_budget": level.examples, "source_classes": level.classes}
    costs = costs.assign(train_flops=1e6 * level.examples, **where)
    return results.assign(**where), costs


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Path:
    """The folder of a board of four levels."""
    folder = tmp_path_factory.mktemp("levels")
    parts = [of(level, skill) for level, skill in LEVELS.items()]
    results, costs = (pd.concat(found, ignore_index=True) for found in zip(*parts, strict=True))
    assert levels_in(costs)["glyphs"][0] == Level(20_000)
    assert set(at_main(results)["examples_budget"]) == {20_000}
    write_reports(results, costs, folder, META)
    return folder


def test_each_level_has_the_scores_and_verdicts_that_it_has_alone(board) -> None:
    whole = pd.read_csv(board / "leaderboard.csv")
    assert len(whole) == 2 * len(LEVELS)
    for level, skill in LEVELS.items():
        alone = summary_of(*of(level, skill)).set_index("method")
        same = (whole["examples_budget"] == level.examples) & (
            whole["source_classes"] == level.classes
        )
        mine = whole[same].set_index("method")
        assert dict(mine["verdict"]) == dict(alone["verdict"])
        assert dict(mine["mean"]) == pytest.approx(dict(alone["mean"]), rel=1e-5)
        best = "protonet" if skill > 0.7 else "linear_probe"
        assert mine.loc[best, "verdict"] == "best"


def test_the_board_begins_with_the_main_level_and_the_others_follow(board) -> None:
    text = (board / "leaderboard.md").read_text()
    first, *others = text.split("\n### glyphs: ")
    main = read_board(board / "leaderboard.csv")
    (mean,) = main.loc[main["method"] == "protonet", "mean"]
    assert f"**{100 * mean:.1f} ± " in first and f"{100 * mean + 10:.1f} ± " not in first
    heads = [part.partition("\n")[0] for part in others]
    assert "accuracy % at 20,000 examples, which" in first
    assert heads == ["5,000 examples", "20,000 examples, 10 % of the classes", "80,000 examples"]
    assert set(main["examples_budget"]) == {20_000} and set(main["source_classes"]) == {1.0}
    page = (board / "index.html").read_text()
    assert '["budget", "budget"]' in page and "80,000 examples" in page


def test_there_is_a_curve_for_each_axis(board) -> None:
    drawn = {path.stem for path in (board / "figures").glob("budget-*.svg")}
    assert drawn == {
        f"budget-{axis}-glyphs-5w" for axis in ("examples-budget", "train-flops", "source-classes")
    }


def test_a_board_of_one_level_has_nothing_of_this(tmp_path) -> None:
    write_reports(*of(Level(20_000), 0.8), tmp_path, META)
    assert "examples, " not in (tmp_path / "leaderboard.md").read_text().split("Papers")[1]
    assert not list((tmp_path / "figures").glob("budget-*"))
    assert '["budget", "budget"]' not in (tmp_path / "index.html").read_text()
