"""Digests that are remembered: never those of a file that was touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from metabench.files import digest
from metabench.pipeline import digests as module
from metabench.pipeline.digests import Digests


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """A file that is old enough for its digest to be remembered."""
    monkeypatch.setattr(module, "YOUNG_NS", 0)
    path = tmp_path / "weights"
    path.write_bytes(b"whole")
    time.sleep(0.01)
    return path


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that are read, in order."""
    found: list[Path] = []
    monkeypatch.setattr(module, "digest", lambda path: (found.append(path), digest(path))[1])
    return found


def test_a_file_that_nobody_touched_is_read_once_by_all_processes(file, reads) -> None:
    memory = file.with_name("memory.json")
    for _ in range(2):
        remembered = Digests(memory)
        assert remembered(file) == remembered(file) == digest(file)
        remembered.save()
    assert reads == [file]


def _longer(path: Path) -> None:
    path.write_bytes(b"whole and more")


def _other_content_at_the_old_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"WHOLE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced_at_the_old_time(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"WHOLE")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "damage", [_longer, _other_content_at_the_old_time, _replaced_at_the_old_time]
)
def test_a_file_that_was_touched_is_read_again_even_if_its_time_is_set_back(file, damage) -> None:
    remembered = Digests(file.with_name("memory.json"))
    whole = remembered(file)
    damage(file)
    assert remembered(file) == digest(file) != whole


def test_a_file_that_may_yet_change_within_a_tick_of_the_clock_is_not_remembered(
    file, reads, monkeypatch
) -> None:
    monkeypatch.setattr(module, "YOUNG_NS", 60 * 10**9)
    remembered = Digests(file.with_name("memory.json"))
    remembered(file), remembered(file)
    assert reads == [file, file]


@pytest.mark.parametrize("content", ["", "[1]", '{"weights": [1', '{"weights": 3}'])
def test_a_damaged_memory_is_none(file, content) -> None:
    memory = file.with_name("memory.json")
    memory.write_text(content)
    remembered = Digests(memory)
    assert remembered(file) == digest(file)
    remembered.save()
    assert Digests(memory)(file) == digest(file)
