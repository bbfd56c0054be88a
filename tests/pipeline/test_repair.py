"""What a DVC that was killed in its own writes leaves behind, made by hand; DVC itself is asked.

``benchmarks.kills`` meets the same with real kills.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.lock import Lock, LockError
from dvc.repo import Repo
from dvc.rwlock import rwlock
from typer.testing import CliRunner

from metabench.cli import app
from metabench.files import InputError
from metabench.pipeline.repair import repair
from tests.toy import root_of_repository

NAMES = ("plan", "train", "aggregate")


def lock_of(*names: str, md5: str = "a" * 32) -> str:
    """A lock file as DVC writes it."""
    entries = (
        f"  {name}:\n    cmd: echo {name}\n    deps:\n    - path: code.py\n      hash: md5\n"
        f"      md5: {md5}\n      size: 120\n    outs:\n    - path: {name}.txt\n      hash: md5\n"
        f"      md5: {md5}\n      size: 2\n"
        for name in names
    )
    return "schema: '2.0'\nstages:\n" + "".join(entries)


WHOLE = lock_of(*NAMES)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A DVC project of three stages, all finished."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    root = tmp_path / "project"
    (root / ".dvc/tmp").mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    stages = [f"  {n}: {{cmd: echo {n}, deps: [code.py], outs: [{n}.txt]}}\n" for n in NAMES]
    (root / "dvc.yaml").write_text("stages:\n" + "".join(stages))
    (root / "dvc.lock").write_text(WHOLE)
    (root / ".dvc/tmp/rwlock").write_text("{}")
    return root


def known_to_dvc(root: Path) -> dict[str, str]:
    """The finished stages that DVC knows of, each with the hash of its output."""
    stages = Repo(str(root)).index.stages
    return {s.name: s.outs[0].hash_info.value for s in stages if s.outs[0].hash_info.value}


@contextmanager
def at_work(root: Path):
    """As DVC holds what a stage writes while it runs."""
    with rwlock(str(root / ".dvc/tmp"), localfs, "dvc repro", [], [str(root / "plan.txt")], False):
        yield


def test_a_project_in_order_is_left_as_it_is(project) -> None:
    assert repair(project) == repair(project) == []
    assert (project / "dvc.lock").read_text() == WHOLE
    assert list(known_to_dvc(project)) == list(NAMES)
    with at_work(project):
        assert repair(project) == []


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ("", []),
        (WHOLE[:5], []),
        (WHOLE[: WHOLE.index("plan")], []),
        (WHOLE[: WHOLE.index("    cmd: echo train")], ["plan"]),
        (WHOLE[: WHOLE.rindex("sh: md5")], ["plan", "train"]),
        ("\0" * 900, []),
        (WHOLE[:60] + "\0" * 40 + WHOLE[100:], ["train", "aggregate"]),
        (lock_of("plan") + "<<<<<<< HEAD\n" + WHOLE[WHOLE.index("  train") :], list(NAMES)[1:]),
    ],
)
def test_a_damaged_lock_file_keeps_the_stages_that_are_whole(project, left, kept) -> None:
    path = project / "dvc.lock"
    path.write_text(left)
    with pytest.raises(DvcException):
        known_to_dvc(project)
    (done,) = repair(project)
    assert str(path) in done and f"kept {len(kept)} " in done
    assert list(known_to_dvc(project)) == kept
    assert (project / ".dvc/tmp/dvc.lock.damaged").read_text() == left
    assert repair(project) == []


@pytest.mark.parametrize("end", ["hash: m", "hash: md5\n      md5: 305"])
def test_a_cut_that_dvc_takes_for_whole_is_found(project, end) -> None:
    (project / "code.py").touch()
    cut = WHOLE.index("hash: md5", WHOLE.index("  aggregate"))
    (project / "dvc.lock").write_text(WHOLE[:cut] + end)
    with pytest.raises((NotImplementedError, AttributeError)):
        Repo(str(project)).status()
    assert "kept 2 of its stages" in repair(project)[0]
    assert len(Repo(str(project)).status()) == len(NAMES)  # outputs are missing


def test_stages_that_are_lost_come_from_the_last_whole_lock_file(project) -> None:
    assert repair(project) == []  # sees it whole
    (project / "dvc.lock").write_text(lock_of("plan", md5="b" * 32) + "  train:\n    cm")
    (done,) = repair(project)
    assert "kept 1 of its stages, took 2 from an earlier version" in done
    assert known_to_dvc(project) == {"plan": "b" * 32, "train": "a" * 32, "aggregate": "a" * 32}


def test_stages_that_are_lost_come_from_git_where_it_has_the_lock_file(project) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for call in (["init", "-q"], ["add", "dvc.lock"], [*author, "commit", "-qm", "locked"]):
        subprocess.run(["git", *call], cwd=project, check=True)
    (project / "dvc.lock").write_text("")
    assert "took 3 from an earlier version" in repair(project)[0]
    assert list(known_to_dvc(project)) == list(NAMES)


def test_a_lock_file_that_was_deleted_on_purpose_does_not_come_back(project) -> None:
    assert repair(project) == []
    (project / "dvc.lock").unlink()
    assert repair(project) == [] and not (project / "dvc.lock").exists()


@pytest.mark.parametrize("left", ["", '{"write": {"/a', "\0\0", "[]", '{"write": {"/a": 1}}'])
def test_a_damaged_rwlock_is_removed(project, left) -> None:
    path = project / ".dvc/tmp/rwlock"
    path.write_text(left)
    with pytest.raises(DvcException), at_work(project):
        pass
    (done,) = repair(project)
    assert f"{path} was damaged: removed" in done
    with at_work(project):
        assert path.exists()
    assert repair(project) == []


def held_by(root: Path, pid: int, since: float | None = None) -> Path:
    """A rwlock in which process ``pid`` writes what a stage wants, as of the time ``since``."""
    path = root / ".dvc/tmp/rwlock"
    written = {str(root / "plan.txt"): {"pid": pid, "cmd": "dvc repro of before"}}
    path.write_text(json.dumps({"write": written, "read": {}}))
    if since is not None:
        os.utime(path, (since, since))
    return path


def test_a_rwlock_of_a_dead_dvc_whose_number_is_another_process_s_is_removed(project) -> None:
    path = held_by(project, os.getpid(), since=0)
    with pytest.raises(LockError, match="is busy"), at_work(project):
        pass
    (done,) = repair(project)
    assert f"{path} names a DVC that is gone: its number ({os.getpid()})" in done
    with at_work(project):
        pass


def test_a_rwlock_of_a_process_that_may_hold_it_is_respected(project) -> None:
    before = held_by(project, os.getpid()).read_text()
    assert repair(project) == []
    assert (project / ".dvc/tmp/rwlock").read_text() == before


@pytest.mark.parametrize("name", ["dvc.lock", ".dvc/tmp/rwlock"])
def test_nothing_is_mended_while_dvc_runs_a_stage_here(project, name) -> None:
    (project / name).write_text("")
    call = ["bash", "-c", "exec -a dvc sleep 60"]
    with subprocess.Popen(call, cwd=project) as process:
        try:
            while Path(f"/proc/{process.pid}/cmdline").read_bytes()[:4] != b"dvc\0":
                pass
            with pytest.raises(InputError, match=rf"{name}: damaged, .*process {process.pid}\)"):
                repair(project)
            assert (project / name).read_text() == ""
        finally:
            process.kill()
    assert len(repair(project)) == 1


def test_nothing_is_mended_while_dvc_holds_its_lock(project) -> None:
    (project / "dvc.lock").write_text("")
    with (
        Lock(str(project / ".dvc/tmp/lock")),
        pytest.raises(InputError, match=rf"another DVC .*process {os.getpid()}\)"),
    ):
        repair(project)
    assert (project / "dvc.lock").read_text() == ""
    assert len(repair(project)) == 1


def test_the_command_says_what_it_did_or_that_there_was_nothing(project, monkeypatch) -> None:
    monkeypatch.chdir(project)
    run = CliRunner().invoke
    assert run(app, ["repair"]).output == "nothing to repair\n"
    (project / "dvc.lock").write_text("schema")
    (project / ".dvc/tmp/rwlock").write_text("")
    result = run(app, ["repair"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "dvc.lock",
        ".dvc/tmp/rwlock",
    ]
    monkeypatch.chdir(project.parent)
    result = run(app, ["repair"])
    assert result.exit_code == 1 and "no DVC project here" in " ".join(result.output.split())


def test_it_is_light_while_all_is_in_order(project) -> None:
    assert repair(project) == []
    heavy = "{'torch', 'mlflow', 'pandas', 'dvc.repo', 'dvc.schema'}"
    code = "import sys; from metabench.cli import app; app(['repair'], standalone_mode=False); "
    code += f"assert not {heavy} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True)


@pytest.mark.parametrize("target", ["bench", "bench-text"])
def test_make_bench_repairs_before_it_runs_dvc(target) -> None:
    call = ["make", "-n", target]
    printed = subprocess.run(call, cwd=root_of_repository(), capture_output=True, text=True)
    commands = [line.split("/")[-1] for line in printed.stdout.splitlines()]
    assert commands.index("metabench repair") < commands.index("dvc repro"), printed
