"""`metabench tune`: equal trials for every method, the best written into params.yaml."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from metabench.cli import app
from metabench.files import InputError
from metabench.pipeline import tuning
from metabench.pipeline.layout import Layout
from tests.toy import TOY_NAME, prepared, toy_config


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Arrays and episodes of the toy dataset."""
    return prepared(tmp_path_factory.mktemp("tune"), toy_config()).root


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A project's folder in which a trial costs nothing."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("# mine\n" + yaml.safe_dump(toy_config().values()))
    monkeypatch.setattr(tuning, "score", lambda *_: 0.5)
    monkeypatch.setattr("metabench.runtime.configure", lambda threads: None)
    return tmp_path


def tuned(*words: str, code: int = 0) -> str:
    """What `metabench tune` prints that must end with ``code``."""
    found = CliRunner().invoke(app, ["tune", *words])
    assert found.exit_code == code, found.output
    return found.output


def test_the_best_trial_is_printed_and_written_where_it_is_asked_for(project) -> None:
    before = Path("params.yaml").read_text()
    assert "protonet: 0.5000 {'lr': 0.00" in tuned(TOY_NAME, "--trials", "1")
    assert Path("params.yaml").read_text() == before
    output = tuned(TOY_NAME, "protonet", "--trials", "2", "--apply")
    after = Path("params.yaml").read_text()
    assert after.startswith("# mine\n") and output.split("study ")[1].rstrip(")\n") in after
    settings = yaml.safe_load(after)["settings"][TOY_NAME]["protonet"]
    assert settings == {"ways": 5, "queries": 3, "lr": 0.001}  # the first of two equal ones


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (["protonet"], InputError("protonet: diverges"), 1),
        ([], InputError("protonet: diverges"), 1),
        (["protonet"], tuning.NothingToTune("protonet: nothing"), 1),
        ([], tuning.NothingToTune("protonet: nothing"), 0),
        (["protonet"], OSError(errno.EROFS, "Read-only file system", "studies"), 1),
    ],
)
def test_a_method_that_cannot_be_tuned_is_a_message_and_a_failure_if_it_was_asked_for(
    project, monkeypatch, words, error, code
) -> None:
    def refuse(*args: object) -> None:
        raise error

    monkeypatch.setattr(tuning, "tune", refuse)
    output = tuned(TOY_NAME, *words, code=code)
    assert "error: protonet: " in output or "error: studies: the file system is read-only" in output


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["tests.toy:TOI"], "no task type has source 'tests.toy:TOI'. Did you mean tests.toy:T", 1),
        (["../x"], "no task type has source '../x'", 1),
        ([TOY_NAME, "protonett"], "unknown method 'protonett'. Did you mean protonet", 1),
        ([TOY_NAME, "majority"], "not tuned, for the reasons above: majority", 1),
        ([TOY_NAME, "--trials", "0"], "--trials", 2),
        ([TOY_NAME, "--seconds", "nan"], "--seconds nan: must be a number above 0", 1),
    ],
)
def test_tune_fails_with_a_message_where_it_cannot_do_its_work(
    project, words, message, code
) -> None:
    assert message in tuned(*words, code=code)


def test_tune_without_data_names_the_command_that_makes_them(project, monkeypatch) -> None:
    monkeypatch.setattr(Layout, "episodes", lambda self, dataset, part: Path("nowhere"))
    assert "nowhere: missing. Run `dvc repro pretrain" in tuned(TOY_NAME, code=1)


def test_tune_fails_where_all_trials_do(project, monkeypatch) -> None:
    def diverge(*_: Any) -> float:
        raise RuntimeError("loss is nan")

    monkeypatch.setattr(tuning, "score", diverge)
    output = tuned(TOY_NAME, "fomaml", "--trials", "1", code=1)
    assert "training diverged in all" in output and "not tuned" in output
