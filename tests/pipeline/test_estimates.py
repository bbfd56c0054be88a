"""How long cells may take: from records, else by hand from budget, settings and episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metabench.config import Config
from metabench.files import write_json
from metabench.pipeline import estimates
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE
from metabench.pipeline.pretrainings import Pretraining
from tests.toy import TOY_NAME, params

METHODS: dict[str, dict[str, Any]] = {
    "protonet": {},
    "maml": {"steps": 3, "test_steps": 7},
    "fine_tune": {"steps": 9},
    "mtl": {"steps": 1, "test_steps": 1, "pretraining_share": 0.25},
    "nearest_neighbour": {},
}
TASKS = 4 * 5 * (1 + 3)
"""Examples of the test: episodes, ways, one shot and three queries."""


@pytest.fixture
def config() -> Config:
    values = params(settings={TOY_NAME: METHODS}, seeds=[0, 1])
    values["classification"]["methods"] = list(METHODS)
    return Config.model_validate(values)


def at_level(config: Config, root: Any) -> Layout:
    return Layout(root, level=config.task_type_of(TOY_NAME).budget.level)


@pytest.mark.parametrize(
    ("method", "training", "evaluation"),
    [
        ("protonet", 400, TASKS),
        ("maml", 400 * (1 + 3), TASKS * (1 + 7)),
        ("fine_tune", 0, TASKS * (1 + 9)),
        ("mtl", 300 * (1 + 1), TASKS * (1 + 1)),
        ("nearest_neighbour", 0, TASKS),
    ],
)
def test_without_a_record_passes_of_examples_are_counted(
    config, tmp_path, method, training, evaluation
) -> None:
    cell = config, at_level(config, tmp_path), TOY_NAME, method, 0
    assert estimates.of_training(*cell) == training / 1000
    assert estimates.of_evaluation(*cell) == evaluation / 1000


def test_a_pretraining_spends_its_share(config, tmp_path) -> None:
    cell = config, at_level(config, tmp_path), TOY_NAME, Pretraining(share=0.25), 0
    assert estimates.of_pretraining(*cell) == 0.1


def test_a_cell_takes_as_long_as_the_same_with_another_seed_took(config, tmp_path) -> None:
    layout = at_level(config, tmp_path)
    write_json(layout.learner(TOY_NAME, "maml", 1) / "cost.json", {"train_seconds": 77.0})
    record = layout.result(TOY_NAME, "maml", 1).with_suffix(".json")
    write_json(record, {"adapt_ms": 400.0, "predict_ms": 100.0})
    cell = config, layout, TOY_NAME, "maml", 0
    assert estimates.of_training(*cell) == 77
    assert estimates.of_evaluation(*cell) == 0.5 * 4  # of four episodes


@pytest.mark.parametrize("content", ["", "[1]", '{"train_seconds": "soon"}', "{}"])
def test_a_record_without_the_number_is_none(config, tmp_path, content) -> None:
    layout = at_level(config, tmp_path)
    path = layout.learner(TOY_NAME, "protonet", 0) / "cost.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert estimates.of_training(config, layout, TOY_NAME, "protonet", 0) == 0.4


def test_larger_datasets_take_longer_to_embed(tmp_path) -> None:
    seconds = []
    for rows in (10, 1000):
        np.save(tmp_path / "x.npy", np.zeros((rows, 64), np.int32))
        seconds.append(estimates.of_embedding(tmp_path))
    assert 0 < seconds[0] < seconds[1]


def test_the_jobs_of_a_step_have_the_estimates_of_their_cells(config, tmp_path) -> None:
    jobs = jobs_of("train", WHOLE.learners(config), config, Layout(tmp_path))
    seconds = {job.name.split("/")[1]: job.seconds for job in jobs}
    assert seconds["maml"] == 1.6 and seconds["fine_tune"] == 0
