"""Tuning: scores belong to settings, trials are counted, studies go on where they stopped."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import stages.tune
from metabench.backbones.conv4 import Conv4
from metabench.backbones.minilm import MiniLM
from metabench.config.names import BACKBONE
from metabench.files import InputError
from metabench.methods.feature.ridge import RidgeSettings
from metabench.methods.metric.protonet import ProtoNetSettings
from metabench.methods.parts.language_tuning import LanguageTuningSettings
from metabench.pipeline import tuning as tuning_module
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.tuning import (
    SPACE,
    NothingToTune,
    apply,
    finished,
    score,
    searched,
    tune,
    with_settings,
)
from tests.pipeline.test_cells import prepared
from tests.toy import TOY_NAME, toy_config


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = toy_config()
    return config, prepared(tmp_path_factory.mktemp("tune"), config).root


def test_two_learning_rates_give_two_scores_and_equal_ones_the_same(project) -> None:
    config, root = project
    low, high, again = (
        score(config, root, TOY_NAME, "protonet", {"lr": lr}) for lr in (1e-5, 1e-2, 1e-5)
    )
    assert low != high and low == again


def test_the_pretraining_is_tuned_like_a_method_and_in_folders_of_its_own(project) -> None:
    config, root = project
    low, high = (score(config, root, TOY_NAME, BACKBONE, {"lr": lr}) for lr in (1e-5, 1e-2))
    assert low != high
    assert not (root / "backbones" / TOY_NAME).exists()
    study = tune(config, root, TOY_NAME, BACKBONE, 1, 60, lambda settings: settings["lr"])
    assert study.best_params == {"lr": pytest.approx(5e-3)}  # its default
    keys = {
        Keys(with_settings(config, TOY_NAME, BACKBONE, {"lr": lr}), Layout(root)).backbone(
            TOY_NAME, 0
        )
        for lr in (1e-3, 5e-3)
    }
    assert len(keys) == 2
    with pytest.raises(InputError, match="backbone: rate: unknown key"):
        score(config, root, TOY_NAME, BACKBONE, {"rate": 1.0})


def test_only_settings_that_the_method_has_are_searched() -> None:
    assert set(searched(ProtoNetSettings, Conv4)) == {"lr"}
    assert set(searched(RidgeSettings, Conv4)) == {"lr", "penalty"}
    assert (
        searched(LanguageTuningSettings, MiniLM)["finetune_lr"][1] < SPACE["finetune_lr"][1]
    )  # its own range
    assert searched(ProtoNetSettings, MiniLM)["lr"][1] < SPACE["lr"][1]  # its backbone's


def test_a_study_starts_from_the_default_counts_its_trials_and_resumes(project) -> None:
    config, root = project
    seen: list[dict] = []

    def evaluate(settings: dict) -> float:
        if len(seen) == 2 and not any(s.get("stop") for s in seen):
            seen.append({"stop": True})
            raise KeyboardInterrupt
        seen.append(settings)
        return -abs(settings["lr"] - 0.004)

    with pytest.raises(KeyboardInterrupt):
        tune(config, root, TOY_NAME, "protonet", 5, 60, evaluate)
    study = tune(config, root, TOY_NAME, "protonet", 5, 60, evaluate)
    tried = [s["lr"] for s in seen if "lr" in s]
    assert len(finished(study)) == 5 == len(tried)
    assert tried[0] == pytest.approx(1e-3) and len(set(tried)) == 5
    again = tune(config, root, TOY_NAME, "protonet", 5, 60, evaluate)
    assert again.study_name == study.study_name and len([s for s in seen if "lr" in s]) == 5


def test_a_diverged_trial_counts_as_the_worst(project) -> None:
    config, root = project

    def evaluate(settings: dict) -> float:
        if settings["inner_lr"] > 0.05:
            raise RuntimeError("not finite")
        return 1.0

    study = tune(config, root, TOY_NAME, "maml", 3, 60, evaluate)
    assert len(finished(study)) == 3
    assert study.trials[0].user_attrs["error"] == "not finite"


def test_settings_that_all_diverge_are_never_the_best(project) -> None:
    config, root = project

    def evaluate(settings: dict) -> float:
        if settings["inner_lr"] != 0.007:
            raise RuntimeError("loss is nan")
        return 1.0

    with pytest.raises(InputError, match=r"reptile: training diverged in all 2 .*loss is nan"):
        tune(config, root, TOY_NAME, "reptile", 2, 60, evaluate)
    with pytest.raises(InputError, match=r"boil: no trial was finished in 0 seconds"):
        tune(config, root, TOY_NAME, "boil", 2, 0, evaluate)
    config = with_settings(config, TOY_NAME, "reptile", {"inner_lr": 0.007})
    study = tune(config, root, TOY_NAME, "reptile", 3, 60, evaluate)  # starts from params again
    assert (len(finished(study)), study.best_params["inner_lr"]) == (3, 0.007)


def test_the_best_settings_go_into_params_with_the_name_of_the_study(project, tmp_path) -> None:
    config, root = project
    study = tune(config, root, TOY_NAME, "ridge", 2, 60, lambda s: s["penalty"])
    path = tmp_path / "params.yaml"
    path.write_text(f"# kept\nmethods:\n  {TOY_NAME}:\n    ridge: {{}}  \n    maml: {{steps: 3}}\n")
    best = apply(path, study, TOY_NAME, "ridge")
    text = path.read_text()
    assert "# kept" in text and study.study_name in text and "steps: 3" in text
    assert yaml.safe_load(text)["methods"][TOY_NAME]["ridge"] == best


def test_a_method_without_settings_to_search_is_named(project) -> None:
    config, root = project
    with pytest.raises(InputError, match="majority: has no setting"):
        tune(config, root, TOY_NAME, "majority", 1, 60, lambda s: 0.0)


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (["protonet"], InputError("protonet: diverges"), 1),
        ([], InputError("protonet: diverges"), 1),
        (["protonet"], NothingToTune("protonet: nothing"), 1),
        ([], NothingToTune("protonet: nothing"), 0),
        (["protonet"], OSError(errno.EROFS, "Read-only file system", "studies"), 1),
    ],
)
def test_a_method_that_cannot_be_tuned_is_a_message_and_a_failure_if_it_was_asked_for(
    project, monkeypatch, capsys, words, error, code
) -> None:
    def refuse(*args: object) -> None:
        raise error

    monkeypatch.chdir(project[1])
    Path("params.yaml").write_text(yaml.safe_dump(project[0].model_dump(mode="json")))
    monkeypatch.setattr(stages.tune, "tune", refuse)
    monkeypatch.setattr("sys.argv", ["stages/tune.py", TOY_NAME, *words])
    with pytest.raises(SystemExit) as ended:
        stages.tune.main()
    text = capsys.readouterr().err + str(ended.value.code)
    assert bool(ended.value.code) == bool(code)
    assert "error: protonet: " in text or "error: studies: the file system is read-only" in text


def tuning(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs ``stages.tune`` in this process; what it ends with, "" if it succeeds."""
    monkeypatch.setattr(sys, "argv", ["tune", *arguments])
    try:
        stages.tune.main()
    except SystemExit as end:
        return str(end.code or "")
    raise AssertionError("it ends by sys.exit")


@pytest.fixture
def in_project(project, monkeypatch) -> None:
    config, root = project
    monkeypatch.chdir(root)
    values = config.model_dump(mode="json")
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(tuning_module, "score", lambda *_: 0.5)
    monkeypatch.setattr(stages.tune, "configure", lambda threads: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tests.toy:TOI"], "no task type has source 'tests.toy:TOI'. Did you mean tests.toy:TOY"),
        (["../x"], "no task type has source '../x'"),
        ([TOY_NAME, "protonett"], "unknown method 'protonett'. Did you mean protonet"),
        ([TOY_NAME, "majority"], "not tuned, for the reasons above: majority"),
        ([TOY_NAME, "--trials", "0"], "2"),
        ([TOY_NAME, "--seconds", "nan"], "2"),
    ],
)
def test_tune_fails_with_a_message_where_it_cannot_do_its_work(
    in_project, arguments, message, monkeypatch
) -> None:
    honest = [TOY_NAME, "protonet", "--trials", "1"]
    assert tuning(*honest, monkeypatch=monkeypatch) == ""
    assert message in tuning(*arguments, monkeypatch=monkeypatch)


def test_tune_without_data_names_the_command_that_makes_them(in_project, monkeypatch) -> None:
    monkeypatch.setattr(Layout, "episodes", lambda self, dataset, part: Path("nowhere"))
    message = tuning(TOY_NAME, monkeypatch=monkeypatch)
    assert "nowhere: missing. Run `dvc repro pretrain" in message


def test_tune_fails_where_all_trials_do(in_project, monkeypatch, capsys) -> None:
    def diverge(*_: Any) -> float:
        raise RuntimeError("loss is nan")

    monkeypatch.setattr(tuning_module, "score", diverge)
    message = tuning(TOY_NAME, "fomaml", "--trials", "1", monkeypatch=monkeypatch)
    assert "not tuned" in message and "fomaml" in message
    assert "training diverged in all" in capsys.readouterr().err


def test_a_database_of_studies_that_is_none_is_named(project, tmp_path) -> None:
    config, root = project
    shutil.copytree(root, tmp_path / "project", ignore=shutil.ignore_patterns("studies"))
    database = tmp_path / "project/studies/studies.db"
    database.parent.mkdir()
    database.write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match=r"studies\.db: cannot be used .*not a database"):
        tune(config, tmp_path / "project", TOY_NAME, "protonet", 1, 60, lambda s: 1.0)
