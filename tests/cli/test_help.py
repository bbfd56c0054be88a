"""The first look: help in the order of use, the version, completion; none of it waits for torch."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

import metabench
from metabench.cli import app, completing
from tests.toy import TOY_NAME, params


def test_the_help_lists_all_commands_in_groups_with_a_sentence_each() -> None:
    output = CliRunner().invoke(app, ["--help"], terminal_width=120).output
    heads = re.findall(r"^╭─ (.*?) ─+╮$", output, re.MULTILINE)
    assert heads == ["Options", "Start", "Compute", "Results", "Your own methods and data"]
    listed = re.findall(r"^│ ([a-z]+) +[A-Z]\w+ ", output, re.MULTILINE)
    assert set(listed) == {command.name for command in app.registered_commands}
    order = [listed.index(name) for name in ("init", "profile", "tune", "where", "check")]
    assert order == sorted(order)
    assert "metabench init FOLDER" in output


def test_the_version_is_the_package_s() -> None:
    output = CliRunner().invoke(app, ["--version"]).output
    assert output == f"metabench {metabench.__version__}\n"


LIGHT = """
import sys
from metabench.cli import app
try:
    app(sys.argv[1:], prog_name="metabench")
except SystemExit:
    heavy = {"torch", "numpy", "pandas", "mlflow", "sklearn", "scipy"} & sys.modules.keys()
    print("imported:", sorted(heavy))
"""


def run(*words: str, **environment: str) -> tuple[str, float]:
    """Output of the command in a process of its own, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", LIGHT, *words]
    found = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_and_completion_come_at_once() -> None:
    """Half a second of CPU is what they take at most; the bound leaves room for a busy machine."""
    output, seconds = run("--help")
    assert "imported: []" in output and seconds < 1.5
    words = {"_METABENCH_COMPLETE": "complete_bash", "COMP_WORDS": "metabench show protone"}
    output, _ = run(COMP_CWORD="2", **words)
    assert output.splitlines()[0] == "protonet" and "torch" not in output


def test_names_are_completed_from_the_registries_and_from_params(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completing.methods("proto") == ["protonet", "proto_maml"]
    assert completing.datasets("gly") == ["glyphs"]
    assert {"conv4", "backbone", "digits", "maml"} <= set(completing.registered(""))
    assert completing.sources_in_use("") == []
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params()))
    assert completing.sources_in_use("tests") == [TOY_NAME]
    assert completing.methods_in_use("") == ["protonet"]
    (tmp_path / "params.yaml").write_text("damaged: [")
    assert completing.targets_in_use("") == []
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/small.yaml").touch()
    assert completing.profiles("sm") == ["small", "smoke"]


NAMING = ["init", "profile", "show", "check", "tune", "compare", "bench"]


@pytest.mark.parametrize("command", NAMING)
def test_each_command_that_takes_a_name_completes_it(command) -> None:
    (found,) = [c for c in app.registered_commands if c.name == command]
    assert found.callback is not None
    hints = found.callback.__annotations__.values()
    assert any("autocompletion=" in str(hint) for hint in hints)
