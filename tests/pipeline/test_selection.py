"""Rules of selection beside ``val``: where params.yaml asks for them, and never in what decides."""

from __future__ import annotations

import pytest

from metabench.pipeline.cells import train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.keys import Keys
from metabench.pipeline.planning import fingerprints
from metabench.pipeline.results import collect, read_result
from metabench.tracking.best import best_on_val
from tests.toy import TOY_NAME, params, prepared, toy_config

CELL = TOY_NAME, "random_features", 0


def config_of(**evaluation):
    base = params(settings={})
    base["classification"] |= {"methods": ["random_features"]}
    base["classification"]["evaluation"] |= {"settings": [{"shots": 1}, {"shots": 2}]} | evaluation
    return toy_config(**base)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = config_of(selection=["support", "oracle"], candidates=3)
    layout = prepared(tmp_path_factory.mktemp("project"), config).at(None)  # it spends nothing
    for work in (train_cell, evaluate_cell):
        work(lambda share, text: None, config, layout, *CELL)
    return config, layout


def test_scores_by_other_rules_are_in_the_result_and_in_nothing_that_decides(project) -> None:
    config, layout = project
    rows = read_result(layout.result(*CELL))
    test = rows[rows["partition"] == "test"]
    counts = test.groupby(["selection", "shots"]).size().to_dict()
    assert counts == {("val", 1): 4, ("val", 2): 4, ("oracle", 1): 4, ("oracle", 2): 4,
                      ("support", 2): 4}  # fmt: skip
    means = test.groupby(["selection", "shots"])["value"].mean()
    assert means["oracle", 1] >= means["val", 1] and means["oracle", 2] >= means["val", 2]
    assert test.loc[test["selection"] != "val", "temperature"].isna().all()
    assert rows.loc[rows["partition"] == "val", "selection"].eq("val").all()
    _, records = collect(config, layout)
    found = best_on_val(config, layout, records, TOY_NAME)
    assert found is not None
    val = rows[rows["partition"] == "val"].groupby("shots")["value"].mean()
    assert found[1] == pytest.approx(val.mean())


def test_a_rule_changes_results_and_neither_learners_nor_episodes(project) -> None:
    config, layout = project
    plain, fewer = config_of(), config_of(selection=["oracle"], candidates=3)
    keys = [Keys(c, layout) for c in (config, plain, fewer)]
    assert len({k.learner(*CELL) for k in keys}) == len({k.episodes(TOY_NAME) for k in keys}) == 1
    assert len({k.result(*CELL) for k in keys}) == 3
    assert Keys(config_of(candidates=9), layout).result(*CELL) == keys[1].result(*CELL)
    plans = [fingerprints(c) for c in (config, plain)]
    changed = {stage for stage in plans[0] if plans[0][stage] != plans[1][stage]}
    assert changed == {"evaluate", "aggregate"}
