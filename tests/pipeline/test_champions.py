"""The ``val`` episodes by which champions are chosen: drawn for that alone, scored, kept apart."""

from __future__ import annotations

import numpy as np
import pytest

from metabench.config import Config, Setting
from metabench.data.base import Dataset
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.pipeline.cells import fit_to_val, freeze_dataset, train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.keys import Keys, champion_files
from metabench.pipeline.results import collect, read_result
from tests.toy import TOY_NAME, params, prepared

CELL = TOY_NAME, "protonet", 0


def config_of(**evaluation: object) -> Config:
    values = params()
    values["classification"]["evaluation"] |= {"episodes": 12} | evaluation
    return Config.model_validate(values)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = config_of()
    layout = prepared(tmp_path_factory.mktemp("project"), config)
    for work in (train_cell, evaluate_cell):
        work(lambda share, text: None, config, layout, *CELL)
    return config, layout


def test_they_are_of_val_classes_and_not_those_that_validate_training(project) -> None:
    _, layout = project
    arrays = Dataset.load(layout.processed(TOY_NAME))
    chosen, validating = (
        FrozenEpisodes.load(layout.episodes(TOY_NAME, folder) / "5w1s.npz").indices
        for folder in ("champions", "val")
    )
    partitions = {arrays.classes[y].partition for y in arrays.y[chosen.ravel()]}
    assert partitions == {"val"} and len(chosen) == 4  # a third of the test episodes
    assert not any(np.array_equal(a, b) for a in chosen for b in validating)


def test_they_are_scored_and_no_board_has_them(project) -> None:
    config, layout = project
    rows = read_result(layout.result(*CELL))
    assert rows["partition"].value_counts().to_dict() == {"test": 12, "val": 4}
    results, records = collect(config, layout)
    assert set(results["partition"]) == {"test"} and len(results) == 12
    (temperature,) = rows["temperature"].unique()  # fitted on val, applied to test
    assert records["temperatures"].tolist() == [{"5w1s": temperature}] and temperature > 0
    assert not np.allclose(rows["nll"], rows["raw_nll"])
    mean = rows.loc[rows["partition"] == "val", "value"].mean()
    assert records["val_scores"].tolist() == [{"5w1s": pytest.approx(mean)}]


def test_a_source_without_val_classes_has_none_and_numbers_stay_whole(tmp_path) -> None:
    config = config_of()
    layout = prepared(tmp_path, config)
    train_cell(lambda share, text: None, config, layout, *CELL)
    for path in layout.episodes(TOY_NAME, "champions").iterdir():
        path.unlink()
    evaluate_cell(lambda share, text: None, config, layout, *CELL)
    rows = read_result(layout.result(*CELL))
    assert set(rows["partition"]) == {"test"} and rows["ways"].dtype.kind == "i"
    assert collect(config, layout)[1]["val_scores"].tolist() == [{}]
    assert rows["temperature"].isna().all() and (rows["nll"] == rows["raw_nll"]).all()


def test_other_ones_are_another_result_of_the_same_learner(project) -> None:
    config, layout = project
    keys = Keys(config, layout)
    before = keys.result(*CELL), keys.learner(*CELL)
    more = config_of(val_episodes=7)
    freeze_dataset(more, layout, TOY_NAME)
    keys = Keys(more, layout)
    after = keys.result(*CELL), keys.learner(*CELL)
    freeze_dataset(config, layout, TOY_NAME)
    assert after[0] != before[0] and after[1] == before[1]
    assert Keys(config, layout).result(*CELL) == before[0]


def test_val_has_as_many_ways_and_queries_as_it_can(tmp_path) -> None:
    members = [np.arange(12)] * 5
    assert fit_to_val(Setting(ways=4, shots=1), 15, members) == (Setting(ways=4, shots=1), 11)
    assert fit_to_val(Setting(ways=9, shots=5), 3, members) == (Setting(ways=5, shots=5), 3)
    assert fit_to_val(Setting(ways=9, shots=12), 3, members) is None
    assert fit_to_val(Setting(ways=9, shots=1), 3, members[:1]) is None
    forms = [{"ways": 5, "shots": 1}, {"ways": 16, "shots": 1}, {"ways": 16, "shots": 2}]
    config = config_of(settings=[form | {"datasets": [TOY_NAME]} for form in forms[:1]])
    layout = prepared(tmp_path, config)
    asked = config_of(settings=forms)
    with pytest.raises(Exception, match="needs 16 classes"):
        freeze_dataset(asked, layout, TOY_NAME)  # test has no 16 classes
    files = champion_files(asked.classification, layout, TOY_NAME, "protonet")
    assert [path.name for path in files] == ["5w1s.npz"]  # for 5 and for 16 ways
