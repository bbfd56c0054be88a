from __future__ import annotations

import errno
import multiprocessing
import sys
from types import SimpleNamespace

import filelock
import pytest
from safetensors import SafetensorError

from metabench import files
from metabench.files import InputError, atomic, digest, lock, plain_name, read_json, write_json


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(InputError, match=r"a\.json: the disk is full"), atomic(path) as temporary:
        temporary.write_text("half of the new conte")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 576 vs 534"), 0),
        (OSError("200000 requested and 51168 written"), 0),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 10**9),
    ],
)
def test_a_full_disk_is_known_however_the_writer_puts_it(tmp_path, monkeypatch, error, free):
    """The words of torch, numpy and safetensors on a full tmpfs."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(InputError, match="the disk is full"), atomic(tmp_path / "a"):
        raise error


def test_another_failure_of_a_writer_is_not_called_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="unexpected"), atomic(tmp_path / "a"):
        raise RuntimeError("unexpected")
    with pytest.raises(PermissionError), atomic(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_damaged_and_missing_json_are_named(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"b\.json: missing"):
        read_json(tmp_path / "b.json")


def test_digest_depends_on_where_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def _try_lock(folder, answers) -> None:
    try:
        with files.lock(folder):
            answers.put("got it")
    except InputError as error:
        answers.put(str(error))


def test_a_second_process_cannot_write_the_same_folder(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with lock(tmp_path / "cell"):
        process = context.Process(target=_try_lock, args=(tmp_path / "cell", answers))
        process.start()
        answer = answers.get(timeout=60)
        process.join()
    assert "another metabench process is writing here" in answer


@pytest.mark.case("34")
@pytest.mark.parametrize(
    "name", ["protonet_wide", "conv4-64.v2", "Vögel", "e\u0301tat", "天気", "7", "x..y"]
)
def test_a_plain_name_is_taken_as_it_is(name) -> None:
    assert plain_name(name, "--name") == name
    assert plain_name(f"{name} (2024)", "--name", also=" ()") == f"{name} (2024)"


@pytest.mark.case("34")
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/x", "a/b", "a\\b", ".x", "-x", " x", "x ", "a b", "a\nb", "a\0b",
     "$(x)", "a;b", "a:b", "*", "\u202ex", "\udce9", "x" * 101, "é" * 51],
)  # fmt: skip
def test_a_path_or_what_a_shell_would_read_otherwise_is_no_plain_name(name) -> None:
    with pytest.raises(InputError, match=r"--name: .* cannot be a name"):
        plain_name(name, "--name")


@pytest.mark.case("24")
@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/env/bin/metabench", "bench", "--images", "x"], "`metabench bench`"),
        (["/project/stages/train.py", "glyphs", "maml"], "`dvc repro`"),
        (["-c"], "the same command"),
    ],
)
def test_the_message_of_a_lock_names_the_command_that_was_run(
    tmp_path, monkeypatch, words, command
) -> None:
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    again = pytest.raises(InputError, match=f"run {command} again")
    with filelock.FileLock(tmp_path / ".cell.lock"), again as found, lock(tmp_path / "cell"):
        pass
    assert ("dvc" in str(found.value)) == ("dvc" in command)
    with lock(tmp_path / "cell"):
        pass


def test_a_lock_clears_away_what_a_killed_writer_left_half_written(tmp_path) -> None:
    folder = tmp_path / "cells"
    write_json(folder / "0/cell.json", {})
    (folder / "0/.tmp-of-one-that-was-killed.pt").write_text("half")
    with lock(folder):
        assert [p.name for p in folder.rglob("*") if p.is_file()] == ["cell.json"]
