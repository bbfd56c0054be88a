"""`--set KEY=VALUE`: parameters changed on the command line, checked before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from metabench.cli import app
from metabench.cli.base import config_in_use
from metabench.config import load
from metabench.files import InputError


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").touch()


def profile(*words: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["profile", "smoke", *words])
    assert found.exit_code == code, found.output
    return found.output


def test_a_profile_is_taken_with_changes_and_keeps_its_comments() -> None:
    profile("--set", "seeds=[4, 5]", "--set", "settings.glyphs.maml.lr=0.01")
    config = load()
    assert config.seeds == (4, 5)
    assert config.settings_of("glyphs", "maml") == {"steps": 1, "test_steps": 1, "lr": 0.01}
    assert Path("params.yaml").read_text().startswith("# The same graph")
    assert "edits of your own" in profile(code=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "classification.budget.exampels=7",
            "budget.exampels: unknown key (value 7). Did you mean",
        ),
        ("sedes=[0]", "--set: sedes: unknown key (value [0]). Did you mean seeds"),
        ("settings.glyphs.protonet.lrr=1", "protonet: lrr: unknown key (value 1). Did you mean lr"),
        ("classification.targets=[digts]", "unknown dataset 'digts'. Did you mean digits"),
        ("seeds=3", "--set: seeds: must be a list, such as [0, 1, 2] (value 3)"),
        ("methods=[maml]", "--set: methods: unknown key (value ['maml'])"),
        ("seeds", "--set seeds: must be KEY=VALUE"),
        ("text.methods=[knn]", "--set: text.sources: required, but missing"),
    ],
)
def test_a_change_that_cannot_work_is_a_message_and_nothing_is_written(change, message) -> None:
    assert message in profile("--set", change, code=1).replace("\n", " ")
    assert not Path("params.yaml").exists()


def test_what_is_in_use_is_changed_for_one_command_and_not_on_disk() -> None:
    profile()
    before = Path("params.yaml").read_text()
    assert config_in_use(["seeds=[7]"]).seeds == (7,) and config_in_use().seeds == (0,)
    with pytest.raises(InputError, match="--set: reports: 'data' is where"):
        config_in_use(["reports=data"])
    assert Path("params.yaml").read_text() == before
