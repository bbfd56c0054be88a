"""Tuning: scores belong to settings, trials are counted, studies go on where they stopped."""

from __future__ import annotations

import shutil

import pytest
import yaml

from metabench.config.names import BACKBONE
from metabench.files import InputError
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import Pretraining
from metabench.pipeline.tuning import (
    apply,
    finished,
    score,
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
            TOY_NAME, Pretraining(), 0
        )
        for lr in (1e-3, 5e-3)
    }
    assert len(keys) == 2
    with pytest.raises(InputError, match="backbone: rate: unknown key"):
        score(config, root, TOY_NAME, BACKBONE, {"rate": 1.0})


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
    path.write_text(f"# kept\nsettings:\n  {TOY_NAME}:\n    maml: {{steps: 3}}\n")
    best = apply(path, study, TOY_NAME, "ridge")
    text = path.read_text()
    assert "# kept" in text and study.study_name in text and "steps: 3" in text
    assert yaml.safe_load(text)["settings"][TOY_NAME]["ridge"] == best


def test_a_method_without_settings_to_search_is_named(project) -> None:
    config, root = project
    with pytest.raises(InputError, match="majority: has no setting"):
        tune(config, root, TOY_NAME, "majority", 1, 60, lambda s: 0.0)


def test_a_database_of_studies_that_is_none_is_named(project, tmp_path) -> None:
    config, root = project
    shutil.copytree(root, tmp_path / "project", ignore=shutil.ignore_patterns("studies"))
    database = tmp_path / "project/studies/studies.db"
    database.parent.mkdir()
    database.write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match=r"studies\.db: cannot be used .*not a database"):
        tune(config, tmp_path / "project", TOY_NAME, "protonet", 1, 60, lambda s: 1.0)
