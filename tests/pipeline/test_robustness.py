"""Bad luck on disk and on the way: a clear message, nothing lost, and the next run works."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from metabench.config import Config
from metabench.files import InputError
from metabench.learning.training import State
from metabench.pipeline.cells import freeze_dataset, is_done, pretrain_cell, train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.finished import Finished
from metabench.pipeline.keys import Keys
from metabench.pipeline.pretrainings import Pretraining
from metabench.pipeline.results import read_result
from metabench.tracking.runs import track_cell
from tests.toy import TOY_NAME, params, prepared, root_of_repository

METHODS = {"protonet": {"ways": 5, "queries": 3}, "meta_baseline": {"ways": 5, "queries": 3}}


def silent(share: float, text: str) -> None:
    pass


def toy_params(**changes: Any) -> dict[str, Any]:
    """A metric method from random weights and a hybrid from a backbone of half the budget."""
    values = params(settings={TOY_NAME: METHODS}) | changes
    values["classification"]["methods"] = list(METHODS)
    return values


CONFIG = Config.model_validate(toy_params())
HALF = Pretraining(share=0.5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project with a finished and evaluated cell, to be copied."""
    root = tmp_path_factory.mktemp("finished")
    layout = prepared(root, CONFIG)
    pretrain_cell(silent, CONFIG, layout, TOY_NAME, HALF, 0)
    for method in METHODS:
        train_cell(silent, CONFIG, layout, TOY_NAME, method, 0)
        evaluate_cell(silent, CONFIG, layout, TOY_NAME, method, 0)
    return root


@pytest.fixture
def layout(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "project")
    return replace(prepared(tmp_path / "unused", CONFIG), root=tmp_path / "project")


def damage(path: Path) -> bytes:
    """Cut ``path`` off; returns what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


@pytest.mark.parametrize("name", ["model.safetensors", "curve.csv", "cost.json", "cell.json"])
def test_a_cell_with_a_damaged_file_is_computed_again_to_the_same_bits(layout, name) -> None:
    folder = layout.learner(TOY_NAME, "protonet", 0)
    weights = (folder / "model.safetensors").read_bytes()
    damage(folder / name)
    assert not is_done(folder, Keys(CONFIG, layout).learner(TOY_NAME, "protonet", 0))
    train_cell(silent, CONFIG, layout, TOY_NAME, "protonet", 0)
    assert is_done(folder, Keys(CONFIG, layout).learner(TOY_NAME, "protonet", 0))
    assert (folder / "model.safetensors").read_bytes() == weights


def test_damaged_weights_of_a_pretraining_are_named_and_then_made_again(layout) -> None:
    path = layout.backbone(TOY_NAME, HALF, 0) / "model.safetensors"
    whole = damage(path)
    shutil.rmtree(layout.learner(TOY_NAME, "meta_baseline", 0))
    with pytest.raises(InputError, match=r"backbones/.*/0: .*damaged.*Run `dvc repro"):
        train_cell(silent, CONFIG, layout, TOY_NAME, "meta_baseline", 0)
    pretrain_cell(silent, CONFIG, layout, TOY_NAME, HALF, 0)
    assert path.read_bytes() == whole
    train_cell(silent, CONFIG, layout, TOY_NAME, "meta_baseline", 0)


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_a_damaged_checkpoint_is_set_aside_with_a_message_and_the_next_run_works(
    layout, keep
) -> None:
    folder = layout.learner(TOY_NAME, "protonet", 0)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "cell.json").unlink()
    key = Keys(CONFIG, layout).learner(TOY_NAME, "protonet", 0)
    whole = layout.root / "whole.pt"
    torch.save({"state": vars(State()), "weights": torch.zeros(1000)}, whole)
    (folder / f"state-{key}.pt").write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"state-\w+\.pt: damaged checkpoint.*Run `dvc repro`"):
        train_cell(silent, CONFIG, layout, TOY_NAME, "protonet", 0)
    assert (folder / f"state-{key}.damaged").exists()
    train_cell(silent, CONFIG, layout, TOY_NAME, "protonet", 0)
    assert (folder / "model.safetensors").read_bytes() == weights
    assert not list(folder.glob("state-*"))


def test_damaged_frozen_episodes_are_named_and_freezing_again_restores_them(layout) -> None:
    path = layout.episodes(TOY_NAME, "test") / "5w1s.npz"
    whole = damage(path)
    with pytest.raises(InputError, match=r"test/5w1s\.npz: damaged or missing episodes"):
        evaluate_cell(silent, CONFIG, layout, TOY_NAME, "protonet", 0)
    freeze_dataset(CONFIG, layout, TOY_NAME)
    assert path.stat().st_size == len(whole)
    assert Finished(CONFIG, layout).result(TOY_NAME, "protonet", 0)


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_damaged_result_is_computed_again(layout, suffix) -> None:
    path = layout.result(TOY_NAME, "protonet", 0)
    before = read_result(path)
    damage(path.with_suffix(suffix))
    assert not Finished(CONFIG, layout).result(TOY_NAME, "protonet", 0)
    evaluate_cell(silent, CONFIG, layout, TOY_NAME, "protonet", 0)
    assert read_result(path).equals(before)


def test_a_full_disk_leaves_the_old_result_and_no_half_of_the_new(layout, monkeypatch) -> None:
    path = layout.result(TOY_NAME, "protonet", 0)
    old = path.read_bytes()
    changed = toy_params()
    changed["classification"]["evaluation"]["episodes"] = 6
    config = Config.model_validate(changed)
    freeze_dataset(config, layout, TOY_NAME)

    def full(frame, temporary: Path, **options: Any) -> None:
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pandas.DataFrame.to_parquet", full)
        with pytest.raises(InputError, match=r"0\.parquet: the disk is full"):
            evaluate_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    assert path.read_bytes() == old and not list(path.parent.glob(".tmp-*"))
    evaluate_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    assert read_result(path)["partition"].eq("test").sum() == 6


# --- through the real stages ---------------------------------------------------------------------


def stage(root: Path, values: dict[str, Any], name: str) -> tuple[int, str]:
    """Run ``python -m stages.NAME`` in a project's folder."""
    (root / "params.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(values))))
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root_of_repository())},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_loss_that_is_not_finite_ends_the_stage_with_the_method_and_its_settings(layout) -> None:
    wild = {"lr": 1e6, "weight_decay": 1e6, "clip": 0}  # each step multiplies the weights by -1e12
    values = toy_params(settings={TOY_NAME: METHODS | {"protonet": wild}})
    code, output = stage(layout.root, values, "train")
    assert code == 1
    assert "1 of 2 cells failed" in output and "ProtoNet: loss is nan" in output
    assert "Lower the learning rates" in output and "lr=1000000.0" in output
    train_cell(silent, CONFIG, layout, TOY_NAME, "protonet", 0)  # with the rate as it was


def test_too_few_examples_for_shots_and_queries_end_the_stage_with_dataset_and_fix(layout) -> None:
    values = toy_params()
    values["classification"]["evaluation"]["queries"] = 15
    before = (layout.episodes(TOY_NAME, "test") / "5w1s.npz").read_bytes()
    code, output = stage(layout.root, values, "episodes")
    assert code == 1
    assert "dataset toy: a 5-way 1-shot test episode with 15 queries per class needs 16" in output
    assert "Lower shots or queries in params.yaml" in output
    assert (layout.episodes(TOY_NAME, "test") / "5w1s.npz").read_bytes() == before


def test_a_damaged_result_ends_the_report_with_its_name_and_no_report(layout) -> None:
    damage(layout.result(TOY_NAME, "protonet", 0))
    code, output = stage(layout.root, toy_params(), "aggregate")
    assert code == 1
    assert (
        "1 of 2 cells are damaged" in output
        and "/protonet/400-examples/0\nRun `dvc repro`" in output
    )
    assert not (layout.root / "reports/leaderboard.md").exists()


# --- tracking ------------------------------------------------------------------------------------


@pytest.fixture
def tracked(layout, monkeypatch):
    """Track the finished cell in the project's folder; returns the ids of its runs."""
    from mlflow import MlflowClient

    monkeypatch.chdir(layout.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def track() -> list[str]:
        track_cell(CONFIG, layout, TOY_NAME, "protonet", 0)
        client = MlflowClient(tracking_uri=f"sqlite:///{layout.root / 'mlflow.db'}")
        experiments = client.search_experiments(filter_string="name = 'metabench-toy'")
        return [r.info.run_id for e in experiments for r in client.search_runs([e.experiment_id])]

    return track


def test_an_unreachable_server_costs_no_result_and_the_run_goes_to_the_local_store(
    tracked, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1:9 failed .*using the local store"):
        assert len(tracked()) == 1


def test_a_damaged_database_is_named_and_costs_no_result(tracked, layout) -> None:
    (layout.root / "mlflow.db").write_bytes(b"not a database " * 1000)
    with pytest.warns(UserWarning, match=r"mlflow\.db failed .*result is safe.*no store"):
        track_cell(CONFIG, layout, TOY_NAME, "protonet", 0)
    assert len(read_result(layout.result(TOY_NAME, "protonet", 0))) == 4 + 2


@pytest.mark.slow  # every attempt waits for the lock
def test_a_locked_database_costs_no_result(tracked, layout) -> None:
    assert len(tracked()) == 1
    record = layout.result(TOY_NAME, "protonet", 0).with_suffix(".json")
    record.write_text(record.read_text().replace('"key": "', '"key": "other'))
    with sqlite3.connect(layout.root / "mlflow.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(UserWarning, match=r"failed .*database is locked.*result is safe"):
            track_cell(CONFIG, layout, TOY_NAME, "protonet", 0)
        other.rollback()
    assert len(tracked()) == 2
    assert len(read_result(layout.result(TOY_NAME, "protonet", 0))) == 4 + 2
