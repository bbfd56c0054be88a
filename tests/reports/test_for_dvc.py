"""What ``dvc metrics`` and ``dvc plots`` read: the means of the results, and their intervals."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from metabench.reports.for_dvc import write_metrics, write_shots
from tests.reports.synthetic import made_up, summary_of
from tests.toy import root_of_repository

ROOT = root_of_repository()
BLOCK = ["source", "target", "ways", "shots", "method"]


@pytest.mark.parametrize(("ways", "setting"), [(5, "5w1s"), (0, "1s")])
def test_metrics_hold_the_mean_of_all_seeds_and_episodes_by_name(tmp_path, ways, setting) -> None:
    results, costs = made_up(ways=ways)
    write_metrics(summary_of(results, costs), tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text())
    means = results.groupby(BLOCK)["value"].mean()
    for method in results["method"].unique():
        mean = means["glyphs", "digits", ways, 1, method]
        assert found["glyphs"]["digits"][setting][method] == pytest.approx(mean, abs=1e-4)
    assert sum(len(m) for t in found["glyphs"].values() for m in t.values()) == len(means)


def test_a_curve_has_a_point_for_each_number_of_shots_within_its_interval(tmp_path) -> None:
    results, costs = made_up(shots=(1, 5, 10))
    write_shots(summary_of(results, costs), tmp_path / "shots.csv")
    rows = pd.read_csv(tmp_path / "shots.csv")
    assert set(rows["block"]) == {"glyphs → glyphs, 5-way", "glyphs → digits, 5-way"}
    curve = rows.query("block == 'glyphs → digits, 5-way' and method == 'maml'")
    mine = results.query("target == 'digits' and method == 'maml'")
    means = mine.groupby("shots")["value"].mean()
    assert curve.set_index("shots")["score"].to_dict() == pytest.approx(means.to_dict(), abs=1e-4)
    assert (rows["low"] < rows["score"]).all() and (rows["score"] < rows["high"]).all()


def test_what_a_learner_is_after_fewer_steps_is_no_point_of_its_curve(tmp_path) -> None:
    results, costs = made_up()
    early = results[results["method"] == "maml"].assign(steps=1, value=0.0)
    write_shots(summary_of(pd.concat([results, early]), costs), tmp_path / "shots.csv")
    rows = pd.read_csv(tmp_path / "shots.csv")
    assert not rows.duplicated(["block", "method", "shots"]).any() and (rows["score"] > 0.2).all()


def test_the_graph_draws_columns_that_the_file_has(tmp_path) -> None:
    write_shots(summary_of(*made_up()), tmp_path / "shots.csv")
    columns = set(pd.read_csv(tmp_path / "shots.csv").columns)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    plots = [plot for plot in stages["aggregate"]["plots"] if "${reports}/shots.csv" in plot]
    plot = plots[0]["${reports}/shots.csv"]
    template = json.loads((ROOT / f".dvc/plots/{plot['template']}.json").read_text())
    drawn = json.dumps(template["spec"]["layer"]) + json.dumps(template["facet"])
    assert {plot["x"], plot["y"]} <= columns
    assert all(f'"field": "{name}"' in drawn for name in ("block", "low", "high"))
