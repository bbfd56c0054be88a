"""The command line, as typed: what it refuses, and how it says so."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import stages.plan
from metabench.cli import app
from tests.toy import params

ODD = ["data [raw]", "[red]data", "x[/]", "data :smile:", "data [@click=f]y"]
"""Names that rich would read as markup."""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def shown(*words: str, code: int = 1) -> str:
    """What a command prints that must end with ``code``."""
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == code, found.output
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.output


# --- markup ---------------------------------------------------------------------------------------


@pytest.mark.case("12")
def test_a_message_names_a_folder(here) -> None:
    (here / "data" / "one").mkdir(parents=True)
    assert "data: " in shown("bench", "--images", "data")
    (here / "data" / "two").mkdir()
    assert "0 usable" in shown("bench", "--images", "data")


@pytest.mark.case("12")
@pytest.mark.parametrize("name", ODD)
def test_markup_in_a_name_is_shown_as_it_is(here, name) -> None:
    (here / name / "one").mkdir(parents=True)
    assert f"{name}: " in shown("bench", "--images", name, "--name", "x")
    (here / "dvc.yaml").touch()
    (here / "profiles").mkdir()
    (here / "profiles" / f"{Path(name).name}.yaml").touch()
    output = shown("profile", name + "x")
    assert f"'{name}x'" in output and Path(name).name in output.split("Known:")[1]


@pytest.mark.case("12")
def test_markup_in_a_column_of_a_table_is_shown_as_it_is(here) -> None:
    (here / "m.csv").write_text("[text],[/label]\na,b\n")
    assert "[text], [/label]" in shown("bench", "--csv", "m.csv")


# --- places where nothing can be done -------------------------------------------------------------


@pytest.mark.case("18")
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_named(here, monkeypatch, code) -> None:
    (here / "dvc.yaml").touch()

    def refuse(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(here / ".tmp-x"))

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", refuse)
        output = shown("profile", "smoke")
    assert str(here) in output and "cannot be written" in output and ".tmp-" not in output
    assert "smoke is in use" in shown("profile", "smoke", code=0)


@pytest.mark.case("18")
@pytest.mark.parametrize("words", [("bench", "--images", "mine"), ("stage",)])
def test_a_work_folder_that_cannot_be_made_is_one_message(here, monkeypatch, words, capsys) -> None:
    own_images(here / "mine")
    for blocked in ("practice", "data"):
        (here / blocked).write_text("a file")
    if words == ("stage",):
        monkeypatch.setattr("sys.argv", ["stages/plan.py"])
        Path("params.yaml").write_text(yaml.safe_dump(params()))
        with pytest.raises(SystemExit) as ended:
            stages.run(stages.plan.main, "")
        output = str(ended.value.code)
    else:
        output = shown(*words)
    assert "is a file, where a folder is wanted" in output


@pytest.mark.case("25")
def test_a_profile_is_taken_where_profiles_are(here) -> None:
    (here / "dvc.yaml").touch()
    assert "smoke is in use" in shown("profile", "smoke", code=0)
    assert "unknown profile 'smok'" in shown("profile", "smok")


@pytest.mark.case("25")
@pytest.mark.parametrize("words", [("profile", "smoke"), ("where",), ("report",), ("ui",)])
def test_outside_a_project_a_command_says_so(here, words) -> None:
    output = shown(*words)
    assert "here" in output and "in the project's folder" in output
    assert list(here.iterdir()) == []


def test_a_module_of_the_users_is_found_in_the_folder_where_the_command_runs(here) -> None:
    assert "No module named 'nearby'" in shown("check", "nearby:Mine")
    (here / "nearby.py").write_text("raise ValueError('it was I who was imported')")
    assert "it was I who was imported" in shown("check", "nearby:Mine")


# --- names that are paths -------------------------------------------------------------------------


def own_images(folder: Path) -> None:
    """Four grey images for each of two classes: enough to read, no more."""
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (8, 8), 10 * i + ord(label)).save(folder / label / f"{i}.png")


@pytest.fixture
def bench(here, monkeypatch):
    """``metabench bench`` that stops where the work would begin; returns the work folder."""
    roots: list[Path] = []
    monkeypatch.setattr(
        "metabench.practice.running.run_plan",
        lambda user_data, chosen, root, *rest: roots.append(root) or "done",
    )

    def run(*words: str, code: int = 0) -> tuple[str, list[Path]]:
        roots.clear()
        return shown("bench", *words, code=code), list(roots)

    return run


@pytest.mark.case("34")
def test_a_plain_name_is_the_work_folder(bench, here) -> None:
    own_images(here / "Fotos (2024)")
    assert bench("--images", "Fotos (2024)")[1] == [Path("practice/Fotos (2024)")]
    assert bench("--images", "Fotos (2024)", "--name", "mine")[1] == [Path("practice/mine")]


@pytest.mark.case("34")
@pytest.mark.parametrize("name", ["..", ".", "../x", "/abs", "a/b", ".hidden", "-x", "a\nb"])
def test_a_name_that_is_a_path_is_refused_before_any_work(bench, here, name) -> None:
    own_images(here / "mine")
    output, roots = bench("--images", "mine", "--name", name, code=1)
    assert "--name" in output and roots == []


@pytest.mark.case("34")
def test_the_stem_of_a_file_is_no_path_either(bench, here) -> None:
    rows = [f"words number {i} of {label} {i * 7},{label}" for label in "ab" for i in range(6)]
    for name in ("...csv", "fine.csv"):
        (here / name).write_text("\n".join(["text,label", *rows]))
    output, roots = bench("--csv", "...csv", code=1)
    assert "--name" in output and roots == []
    assert bench("--csv", "fine.csv")[1] == [Path("practice/fine")]


@pytest.mark.case("34")
@pytest.mark.parametrize("link", ["practice", "practice/mine"])
def test_a_link_out_of_the_folder_is_refused(bench, here, link) -> None:
    own_images(here / "project" / "mine")
    (here / "elsewhere").mkdir()
    os.chdir(here / "project")
    Path(link).parent.mkdir(exist_ok=True)
    Path(link).symlink_to(here / "elsewhere")
    output, roots = bench("--images", "mine", code=1)
    assert "elsewhere" in output and "--name" in output and roots == []
    Path(link).unlink()
    assert bench("--images", "mine")[1] == [Path("practice/mine")]


# --- ui -------------------------------------------------------------------------------------------


@pytest.mark.case("48")
@pytest.mark.parametrize("port", ["99999", "0", "-1"])
def test_a_port_that_there_is_not_is_refused(here, port) -> None:
    (here / "mlflow.db").touch()
    output = shown("ui", "--port", port, code=2)
    assert "--port" in output and ("65535" in output or "equal to 1 " in output)


@pytest.mark.case("48")
def test_a_port_that_is_taken_is_named_with_the_option(here) -> None:
    (here / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        output = shown("ui", "--port", port)
    assert port in output and "--port" in output


@pytest.mark.case("48")
def test_a_folder_or_a_file_that_is_no_database_is_named(here) -> None:
    (here / "mlflow.db").mkdir()
    assert "mlflow.db" in shown("ui") and "folder" in shown("ui")
    (here / "mlflow.db").rmdir()
    (here / "mlflow.db").write_text("no database, but a text of some length")
    assert "mlflow.db" in shown("ui") and "no database" in shown("ui")


def test_the_page_of_another_server_is_printed_and_opened(here, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:s3cret@example.org/")
    asked: list[tuple[str, str | None]] = []
    page = "/#/experiments/7/runs"
    monkeypatch.setattr("metabench.tracking.view.page_of", lambda *a: asked.append(a) or page)
    assert shown("ui", code=0) == f"http://***@example.org{page}\n" and opened == []
    (here / "params.yaml").write_text(yaml.safe_dump(params()))
    shown("ui", "--open", code=0)
    assert opened == [f"http://user:s3cret@example.org{page}"]
    assert [profile for _, profile in asked] == [None, "toy"]


SHORT = """
from metabench.cli import app, ui
ui._SERVE = ui._SERVE.split("from mlflow")[0] + {work!r}
app()
"""
"""``metabench ui`` with something else in place of MLflow's server, which takes long to start."""


def start(work: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SHORT.format(work=work), "ui", "--port", str(free_port())],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # ignored under nohup
    )  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.case("48")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_the_server_ends_with_the_command_however_that_ends(here, number, code) -> None:
    (here / "mlflow.db").touch()
    process = start("import time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    assert process.stdout is not None and "http://127.0.0.1" in process.stdout.readline()
    while not (here / "pid").exists() or not (here / "pid").read_text():
        time.sleep(0.02)
    (server,) = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    server.wait(timeout=20)


@pytest.mark.case("48")
def test_the_command_ends_when_the_server_ends(here) -> None:
    (here / "mlflow.db").touch()
    process = start("print('no luck')")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1 and "no luck" in output and "the server has ended" in output
    assert "Fatal Python error" not in output
