from __future__ import annotations

import importlib.metadata
import json
import math
import sys

import pandas as pd
import pytest
import torch

from metabench.backbones.base import Backbone
from metabench.config import BackboneChoice
from metabench.files import InputError, read_json
from metabench.pipeline import fingerprint, results
from metabench.pipeline.cells import pretrain_cell, train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.finished import Finished
from metabench.pipeline.keys import Keys
from metabench.pipeline.opening import load_learner
from metabench.pipeline.pretrainings import Pretraining
from metabench.pipeline.results import CONTRACT, collect
from tests.toy import TOY_NAME, prepared, toy_config


def silent(share: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = toy_config()
    layout = prepared(tmp_path_factory.mktemp("project"), config)
    train_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    evaluate_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    return config, layout


def test_a_finished_cell_is_reused_and_a_changed_one_is_not(project) -> None:
    config, layout = project
    path = layout.learner(TOY_NAME, "protonet", 0) / "model.safetensors"
    before = path.stat().st_mtime_ns
    train_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    assert path.stat().st_mtime_ns == before
    changed = toy_config(settings={TOY_NAME: {"protonet": {"ways": 5, "queries": 3, "lr": 0.01}}})
    keys = {Keys(c, layout).learner(TOY_NAME, "protonet", 0) for c in (config, changed)}
    assert len(keys) == 2
    assert not Finished(changed, layout).result(TOY_NAME, "protonet", 0)


def test_another_seed_or_more_test_episodes_leave_the_training_key_alone(project) -> None:
    config, layout = project
    key = Keys(config, layout).learner(TOY_NAME, "protonet", 0)
    assert Keys(toy_config(seeds=[0, 1]), layout).learner(TOY_NAME, "protonet", 0) == key
    assert Keys(config, layout).learner(TOY_NAME, "protonet", 1) != key


def test_a_result_has_the_contract_and_names_episodes_and_costs(project) -> None:
    config, layout = project
    frame, records = collect(config, layout)
    assert list(frame.columns) == CONTRACT
    assert len(frame) == 4 and frame["value"].between(0, 1).all()
    assert frame["episode_hash"].nunique() == 1
    record = records.iloc[0]
    assert record["train_seconds"] > 0 and record["train_flops"] > 0 and record["adapt_ms"] > 0
    assert record["examples"] >= 400
    assert frame["bin_count"].map(sum).eq(15).all()  # 5 ways × 3 queries


def test_records_say_which_machine_it_was_and_another_one_reuses_them(project, monkeypatch) -> None:
    config, layout = project
    folder, cell = layout.learner(TOY_NAME, "protonet", 0), (TOY_NAME, "protonet", 0)
    record = read_json(layout.result(*cell).with_suffix(".json"))
    made = read_json(folder / "cell.json")["machine"]
    assert made == record["trained_on"] and record["machine"]["threads"] == torch.get_num_threads()
    assert made["gpu"] is None and record["pretrained_on"] is None
    assert made["versions"]["torch"] == importlib.metadata.version("torch")
    assert made["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    files = (folder / "cell.json", layout.result(*cell))
    before = [path.stat().st_mtime_ns for path in files]
    monkeypatch.setattr("metabench.runtime._processor", lambda: "Abacus (R) 1")
    train_cell(silent, config, layout, *cell)
    evaluate_cell(silent, config, layout, *cell)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_missing_cells_are_listed_and_not_averaged_over(project) -> None:
    _, layout = project
    with pytest.raises(
        InputError, match=r"1 of 2 cells have no result: .*/protonet/400-examples/7"
    ):
        collect(toy_config(seeds=[0, 7]), layout)


def test_a_corrupt_result_is_named(project, tmp_path) -> None:
    _, layout = project
    whole = layout.result(TOY_NAME, "protonet", 0).read_bytes()
    for content in (whole[:-100], b""):
        (tmp_path / "0.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"0\.parquet: damaged"):
            results.read_result(tmp_path / "0.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "0.parquet")
    with pytest.raises(InputError, match="columns are not those of a result"):
        results.read_result(tmp_path / "0.parquet")


def test_a_loaded_learner_predicts_as_the_trained_one_and_damage_is_named(project) -> None:
    _, layout = project
    folder = layout.learner(TOY_NAME, "protonet", 0)
    method, cell = load_learner(folder)
    assert cell["source"] == TOY_NAME and not method.training
    copy = layout.root / "copy"
    copy.mkdir()
    (copy / "cell.json").write_text(json.dumps(cell))
    (copy / "model.safetensors").write_bytes(b"123")
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        load_learner(copy)


def test_a_learner_never_starts_from_a_backbone_of_other_params(project) -> None:
    config, layout = project
    pretrain_cell(silent, config, layout, TOY_NAME, Pretraining(), 0)
    methods = {TOY_NAME: {"protonet": {}, "linear_probe": {}, "backbone": {"lr": 0.02}}}
    with pytest.raises(InputError, match=r"backbones/.*/0: no pretrained backbone of these params"):
        train_cell(silent, toy_config(settings=methods), layout, TOY_NAME, "linear_probe", 0)


class Fixed(Backbone):
    """A backbone without weights."""

    def __init__(self, input_shape: tuple[int, ...]):
        super().__init__()
        self.features = math.prod(input_shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2)


def test_a_method_with_nothing_to_train_is_named_with_its_backbone(project) -> None:
    config, layout = project
    choice = BackboneChoice(name="tests.pipeline.test_cells:Fixed")
    task_type = config.classification.model_copy(update={"backbone": choice})
    config = config.model_copy(update={"classification": task_type})
    with pytest.raises(InputError, match=r"protonet on backbone .*test_cells:Fixed' has no"):
        train_cell(silent, config, layout, TOY_NAME, "protonet", 3)


def test_the_code_of_a_method_is_its_own_file_and_the_shared_parts_but_no_other_method() -> None:
    code = fingerprint.code_fingerprint("metabench.methods.metric.protonet")
    assert (
        "metabench.methods.metric.protonet" in code and "metabench.methods.parts.distances" in code
    )
    assert "metabench.methods" not in code and "metabench.methods.optimisation.maml" not in code


def test_no_method_imports_another_method() -> None:
    from metabench.methods import METHODS

    modules = {METHODS.target(name).split(":")[0] for name in METHODS.names()}
    for module in modules:
        assert not (set(fingerprint.code_fingerprint(module)) & modules) - {module}


@pytest.mark.case("36")
def test_results_of_other_params_are_refused_and_listed(project) -> None:
    _, layout = project
    edited = toy_config(settings={TOY_NAME: {"protonet": {"ways": 5, "queries": 3, "lr": 0.5}}})
    with pytest.raises(
        InputError, match=r"1 of 1 cells .*other params.*/400-examples/0\nRun `dvc repro`"
    ):
        collect(edited, layout)
    collect(project[0], layout)
