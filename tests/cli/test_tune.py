"""`metabench tune`: equal trials for every method, the best written into params.yaml."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from metabench.cli import app
from metabench.config import Compute
from metabench.files import write_json
from metabench.pipeline import trials, tuning
from metabench.pipeline.engine import Job
from metabench.pipeline.layout import Layout
from tests.toy import TOY_NAME, prepared, toy_config


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Arrays and episodes of the toy dataset."""
    return prepared(tmp_path_factory.mktemp("tune"), toy_config()).root


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A project's folder in which a trial costs nothing: its score is one minus the rate."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("# mine\n" + yaml.safe_dump(toy_config().values()))
    monkeypatch.setattr(tuning, "run_cells", pretend)
    return tmp_path


def pretend(jobs: list[Job], compute: Compute, finished=None) -> None:
    for job in jobs:
        a = job.arguments
        cell = a["source"], a["method"], a["seed"]
        count, rate = a["count"], a["config"].settings_of(*cell[:2])["lr"]
        key = trials.outcome_key(a["config"], a["layout"], cell, a["draws"], count)
        found = {"scores": {"5w1s": 1 - rate}, "noise": 0.01} if rate < 0.5 else {"diverged": "nan"}
        path = a["layout"].record(*cell, a["draws"])
        write_json(path, trials.Outcome(key=key, seconds=1.0, **found).model_dump())


def tuned(*words: str, code: int = 0) -> str:
    """What `metabench tune` prints that must end with ``code``."""
    found = CliRunner().invoke(app, ["tune", *words])
    assert found.exit_code == code, found.output
    return found.output


def test_the_best_settings_are_printed_and_written_where_it_is_asked_for(project) -> None:
    before = Path("params.yaml").read_text()
    output = tuned(TOY_NAME, "--trials", "3")
    assert "protonet: of 3 trials, number " in output and "Study tests.toy:TOY" in output
    assert re.search(r"fresh seeds: [25]w1s \d+\.\d %", " ".join(output.split())), output
    assert Path("params.yaml").read_text() == before
    rows = Path(f"studies/toy/{TOY_NAME}/protonet.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 + 9
    output = tuned(TOY_NAME, "protonet", "--trials", "4", "--apply")
    after = Path("params.yaml").read_text()
    assert after.startswith("# mine\n") and "4 trials" in after
    settings = yaml.safe_load(after)["settings"][TOY_NAME]["protonet"]
    assert settings["ways"] == 5 and settings["lr"] <= 0.001
    assert output.rpartition("Study ")[2].split()[0] in after


def test_more_episodes_are_advised_where_their_draw_moves_a_score_by_half_a_point(project) -> None:
    output = " ".join(tuned(TOY_NAME, "--trials", "3", "--episodes", "50").split())
    assert "moves its scores by 1.00 points (sd); --episodes 200 would make that 0.5" in output


def test_a_method_without_settings_is_a_failure_if_it_was_asked_for(project) -> None:
    assert "error: majority: has no setting that is searched" in tuned(TOY_NAME, "majority", code=1)
    values = toy_config().values()
    values["classification"]["methods"] = ["majority", "protonet"]
    Path("params.yaml").write_text(yaml.safe_dump(values))
    output = tuned(TOY_NAME, "--trials", "3")
    assert "majority: has no setting" in output and "protonet: of 3" in output


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["tests.toy:TOI"], "no task type has source 'tests.toy:TOI'. Did you mean tests.toy:T", 1),
        (["../x"], "no task type has source '../x'", 1),
        ([TOY_NAME, "protonett"], "unknown method 'protonett'. Did you mean protonet", 1),
        ([TOY_NAME, "--trials", "2"], "--trials", 2),
        ([TOY_NAME, "--episodes", "0"], "--episodes", 2),
    ],
)
def test_tune_fails_with_a_message_where_it_cannot_do_its_work(
    project, words, message, code
) -> None:
    assert message in tuned(*words, code=code)


def test_tune_without_data_names_the_command_that_makes_them(project, monkeypatch) -> None:
    monkeypatch.setattr(Layout, "episodes", lambda self, dataset, part: Path("nowhere"))
    assert "nowhere: missing. Run `dvc repro episodes" in tuned(TOY_NAME, code=1)


def test_tune_fails_where_all_trials_diverge(project, monkeypatch) -> None:
    def diverge(jobs: list[Job], compute: Compute, finished=None) -> None:
        for job in jobs:
            a = job.arguments
            cell = a["source"], a["method"], a["seed"]
            key = trials.outcome_key(a["config"], a["layout"], cell, a["draws"], a["count"])
            lost = trials.Outcome(key=key, seconds=1.0, diverged="loss is nan")
            write_json(a["layout"].record(*cell, a["draws"]), lost.model_dump())

    monkeypatch.setattr(tuning, "run_cells", diverge)
    output = tuned(TOY_NAME, "protonet", "--trials", "3", code=1)
    assert "training diverges with all settings" in output and "loss is nan" in output
