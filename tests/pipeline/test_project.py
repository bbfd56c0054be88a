"""A folder to work in, made anywhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from metabench.config import load
from metabench.files import InputError
from metabench.pipeline.project import initialise, profiles
from tests.toy import root_of_repository

ROOT = root_of_repository()
FILES = {".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("scm", [True, False])
def test_a_new_folder_gets_the_profile_and_what_dvc_runs(tmp_path, scm) -> None:
    folder = tmp_path / "a folder"
    initialise(folder, "smoke", scm)
    assert names(folder) == FILES | ({".git"} if scm else set())
    assert load(folder / "params.yaml") == load(ROOT / "profiles/smoke.yaml")
    for name in ("dvc.yaml", ".dvc/plots/shots.json"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    assert ("no_scm" in (folder / ".dvc/config").read_text()) == (not scm)
    assert "plan" in {stage.name for stage in Repo(str(folder)).index.stages}


@pytest.mark.parametrize("inner", ["", "some/where"])
def test_a_repository_stays_the_one_that_it_is(tmp_path, inner) -> None:
    git(tmp_path, "init", "-q")
    initialise(tmp_path / inner, "smoke")
    assert git(tmp_path / inner, "rev-parse", "--show-toplevel").strip() == str(tmp_path)
    assert names(tmp_path / inner) - {".git"} == FILES


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_a_folder_holds_is_never_overwritten(tmp_path, name) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=f"holds {name}, and nothing of yours is overwritten"):
        initialise(tmp_path, "smoke")
    assert names(tmp_path) == {name, "letter.txt"}


def test_an_unknown_profile_is_named_with_the_nearest_before_anything_is_made(tmp_path) -> None:
    with pytest.raises(InputError, match=r"unknown profile 'smoek'\. Did you mean smoke"):
        initialise(tmp_path / "new", "smoek")
    assert names(tmp_path) == set()


def test_without_git_the_option_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"git is not installed\. Install it, or pass --no-scm"):
        initialise(tmp_path, "smoke")
    initialise(tmp_path, "smoke", scm=False)
    assert names(tmp_path) == FILES


def test_a_place_that_git_ignores_is_refused_in_a_message(tmp_path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("scratch/\n")
    with pytest.raises(InputError, match="scratch: DVC cannot be set up here"):
        initialise(tmp_path / "scratch", "smoke")


def test_profiles_of_ones_own_stand_beside_those_that_came_along(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("profile: mine")
    (tmp_path / "smoke.yaml").write_text("profile: mine, too")
    known = profiles(tmp_path)
    shipped = {path.stem for path in (ROOT / "profiles").glob("*.yaml")}
    assert set(known) == shipped | {"mine"}
    assert known["smoke"] == b"profile: mine, too"


def test_people_find_the_graph_its_params_and_its_stages_at_the_top_of_the_repository() -> None:
    graph = (ROOT / "dvc.yaml").read_text()
    called = set(re.findall(r"cmd: python -m ([\w.]+)", graph))
    assert called and (ROOT / "params.yaml").exists()
    assert {name for name in called if not (ROOT / f"stages/{name[7:]}.py").exists()} == set()
