"""Digests of files, remembered: a file that nobody has touched is not read again."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from metabench.files import InputError, digest, read_json, write_text

YOUNG_NS = 2 * 10**9
"""A file that was touched so shortly ago may be touched again within one tick of its clock: its
digest is not remembered."""


class Digests:
    """``digests(path)`` is a file's digest; from memory where size, times and inode are the same.

    The memory is kept in the file ``path``. What is lost of it, as when two processes write it at
    the same time, costs the reading of files again, and nothing else.
    """

    def __init__(self, path: Path):
        self._path, self._grown = path, False
        self._memory: dict[str, list[int | str]] = {}
        with suppress(InputError):
            found = read_json(path) if path.exists() else {}
            self._memory = found if isinstance(found, dict) else {}

    def save(self) -> None:
        """Keep what was learned, where the folder may be written."""
        if self._grown:
            with suppress(InputError):
                write_text(self._path, json.dumps(self._memory))

    def __call__(self, path: Path) -> str:
        """The digest of ``path``.

        Raises:
            OSError: it cannot be read.
        """
        name, state = str(path), _state(path)
        match self._memory.get(name):
            case [*known, str(found)] if known == state:
                return found
        found = digest(path)
        if state == _state(path) and time.time_ns() - max(state[1:3]) > YOUNG_NS:
            self._memory[name], self._grown = [*state, found], True
        return found


def _state(path: Path) -> list[int]:
    """Size, both times and inode of a file: what no write leaves as it was."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
