"""Settings by shots belong to prediction: another result of the same training."""

from __future__ import annotations

import pytest

from metabench.files import read_json
from metabench.learning.scoring import mean_score
from metabench.pipeline import cells
from metabench.pipeline.cells import train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.finished import Finished
from metabench.pipeline.keys import Keys
from metabench.pipeline.opening import load_learner
from metabench.pipeline.planning import fingerprints
from metabench.pipeline.results import read_result
from tests.toy import TOY_NAME, params, prepared, toy_config

CELL = TOY_NAME, "baseline_plus_plus", 0
ONE, FIVE = {1: {"finetune_lr": 0.5}}, {5: {"finetune_lr": 0.5}}


def config_of(**settings):
    base = params(settings={TOY_NAME: {"baseline_plus_plus": {"finetune_lr": 0.0} | settings}})
    base["classification"] |= {"methods": ["baseline_plus_plus"]}
    return toy_config(**base)


def silent(share: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = prepared(tmp_path_factory.mktemp("project"), config_of())
    for work in (train_cell, evaluate_cell):
        work(silent, config_of(), layout, *CELL)
    return layout


def test_nothing_is_trained_again_and_what_is_evaluated_has_the_settings(
    layout, monkeypatch
) -> None:
    folder, before = layout.learner(*CELL), read_result(layout.result(*CELL))
    trained = (folder / "model.safetensors").stat().st_mtime_ns
    config = config_of(by_shots=ONE)
    with Finished(config, layout) as look:
        assert not look.learner(*CELL) and not look.result(*CELL)
    monkeypatch.setattr(cells, "train", None)  # would fail
    for work in (train_cell, evaluate_cell):
        work(silent, config, layout, *CELL)
    assert (folder / "model.safetensors").stat().st_mtime_ns == trained
    cell = read_json(folder / "cell.json")
    assert cell["settings"]["by_shots"] == {"1": {"finetune_lr": 0.5}}
    after = read_result(layout.result(*CELL))
    assert after["raw_nll"].tolist() != before["raw_nll"].tolist()
    with Finished(config, layout) as look:
        assert look.learner(*CELL) and look.result(*CELL)
    learner, _ = load_learner(folder)
    learner.settings = learner.settings.model_copy(update={"finetune_lr": 0.5, "by_shots": {}})
    monkeypatch.setattr("metabench.pipeline.evaluating.load_learner", lambda *_: (learner, cell))
    layout.result(*CELL).unlink()
    evaluate_cell(silent, config, layout, *CELL)
    assert read_result(layout.result(*CELL)).equals(after)


def test_keys_and_plan_tell_training_from_prediction(layout) -> None:
    plain, one, five = (config_of(by_shots=found) for found in ({}, ONE, FIVE))
    keys = [Keys(config, layout) for config in (plain, one, five)]
    assert len({key.training(*CELL) for key in keys}) == 1
    assert len({key.learner(*CELL) for key in keys}) == len({k.result(*CELL) for k in keys}) == 3
    assert keys[0].learner(*CELL) == keys[0].training(*CELL)
    other = Keys(config_of(finetune_lr=0.1, by_shots=ONE), layout)
    assert other.training(*CELL) != keys[0].training(*CELL)  # training validates with it
    plans = [fingerprints(config)["train"] for config in (plain, one, five)]
    assert plans[0] != plans[1] != plans[2]


def test_validations_in_training_do_not_take_them(layout, tmp_path, monkeypatch) -> None:
    seen = []

    def watched(method, sets):
        seen.append(method.settings.by_shots)
        return mean_score(method, sets)

    monkeypatch.setattr(cells, "mean_score", watched)
    config = config_of(by_shots=ONE)
    fresh = prepared(tmp_path, config)
    train_cell(silent, config, fresh, *CELL)
    assert len(seen) > 1 and not any(seen)
    weights = [
        read_json(place.learner(*CELL) / "cell.json")["weights"] for place in (layout, fresh)
    ]
    assert weights[0] == weights[1]


def test_a_damaged_learner_is_trained_again(layout) -> None:
    train_cell(silent, config_of(by_shots=FIVE), layout, *CELL)
    path = layout.learner(*CELL) / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    train_cell(silent, config_of(by_shots=ONE), layout, *CELL)
    assert path.read_bytes() == whole
