"""Files that are whole or absent: temporary name, then ``os.replace``; digests; locks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import filelock
from pydantic import BaseModel, ValidationError

T = TypeVar("T")

DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What numpy, zipfile and pyarrow raise on a file that is truncated or not what it should be."""

LARGEST = 2**27
"""Bytes of the largest JSON file that is read; what it becomes in memory is some ten times that."""

Record = TypeVar("Record", bound=BaseModel)


TEMPORARY = ".tmp-"
"""How the names of files begin that are being written."""


class InputError(Exception):
    """Bad input from outside: the message names the file or field, what is wrong and the fix."""


LONGEST_NAME = 100
"""Bytes of a name: files are named by two or three of them, and systems take 255."""


def plain_name(name: str, where: str, also: str = "") -> str:
    """``name``, if it can stand in a path, a shell command and a table as it is.

    That is: letters of any script, digits, ``_``, ``-`` and ``.``, the first neither dot nor dash.

    Args:
        where: the field or option that holds it, for the message.
        also: characters that are allowed beside these.

    Raises:
        InputError: it is something else, such as a path.
    """
    letters = all(unicodedata.category(c)[0] in "LMN" or c in f"_-.{also}" for c in name)
    edges = name == name.strip() and not name.startswith((".", "-"))
    if not (name and letters and edges) or len(name.encode()) > LONGEST_NAME:
        raise InputError(
            f"{where}: {name[:LONGEST_NAME]!r} cannot be a name. Take letters, digits, '_', '-' "
            f"and '.', at most {LONGEST_NAME} bytes, that begin with neither '.' nor '-'."
        )
    return name


def command() -> str:
    """What the user typed, as far as it can be told, for messages that ask to do it again."""
    program, *words = sys.argv
    path = Path(program)
    if path.parent.name == "stages":
        return "`dvc repro`"
    if words and path.name in ("metabench", "__main__.py"):
        return f"`metabench {words[0]}`"
    return "the same command"


def maker() -> str:
    """The command that makes the files of the work folder in use, for messages."""
    return "`metabench bench`" if command() == "`metabench bench`" else "`dvc repro`"


REFUSALS = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "there is no permission",
    errno.EPERM: "there is no permission",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a link leads back to itself",
}
"""What a system says when it cannot do what was asked, and the user can do something about it."""


def refusal(error: OSError, path: Path | None = None) -> InputError | None:
    """What the user is told about an error of the system; None: it is none of the user's doing.

    Args:
        path: what was to be written, if the error does not name it or names a temporary file.
    """
    place = path or (Path(error.filename) if isinstance(error.filename, str) else None)
    in_words = re.search(r"\[Errno (\d+)\]", str(error))  # shutil gathers the errors of many files
    number = int(in_words[1]) if error.errno is None and in_words else error.errno
    if number in (errno.ENOTDIR, errno.EEXIST) and place is not None:
        file = next((p for p in (place, *place.parents) if p.is_file()), place)
        return InputError(
            f"{file}: is a file, where a folder is wanted. Rename it, or work elsewhere."
        )
    if number == errno.EISDIR and place is not None:
        return InputError(f"{place}: is a folder, where a file is wanted. Rename it.")
    if number not in REFUSALS:
        return None
    reason = REFUSALS[number]
    if number in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"{f'{place}: ' if place else ''}{reason}. Free some space and run again."
        )
    if path is None:
        return InputError(f"{place or Path.cwd()}: {reason}. Change that, or work elsewhere.")
    folder = next((p for p in path.absolute().parents if os.path.lexists(p)), path)
    return InputError(
        f"{folder}: cannot be written, {reason}. Change that, or work in another folder."
    )


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what a system refuses into a message about ``path``, which is to be written.

    Raises:
        InputError: see :func:`refusal`.
    """
    try:
        yield
    except OSError as error:
        found = refusal(error, path)
        if found is None:
            raise
        raise found from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed and takes its place.

    If the block raises (a full disk, Ctrl-C), the temporary file is removed and ``path`` is as
    before. The suffix is kept, since some writers choose the format by it.

    Raises:
        InputError: the disk is full, in whatever words the writer says so; or the folder cannot be
            written.
    """
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp is private; artefacts are not
        with told(path):
            temporary.replace(path)
    except Exception as error:
        if not _disk_is_full(error, path.parent):
            raise
        raise InputError(
            f"{path}: the disk is full, so this file is as it was. Free some space and run again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _disk_is_full(error: Exception, folder: Path) -> bool:
    """Whether a write failed for want of space.

    torch and numpy say neither so nor an error number, safetensors in words alone.
    """
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    silent = isinstance(error, RuntimeError | OSError) and getattr(error, "errno", None) is None
    words = "No space left on device" in str(error)
    return words or (silent and shutil.disk_usage(folder).free < 2**16)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_bytes(path: Path, largest: int) -> bytes:
    """The content of a file of at most ``largest`` bytes.

    Raises:
        InputError: missing, larger, or no file that can be read.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{path}: not a file")
        if size > largest:
            raise InputError(f"{path}: {size} bytes, at most {largest} are read")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing. Run {maker()} to produce it.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_json(path: Path) -> Any:
    """Read JSON of any form.

    Raises:
        InputError: the file is missing, is not JSON, or is too large or too deep to be read.
    """
    try:
        return json.loads(read_bytes(path, LARGEST).decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}). Delete it and run again.") from error


def read_record(path: Path, form: type[Record], largest: int = LARGEST) -> Record:
    """Read JSON of a known form: nothing in the file is believed before it has been checked.

    Raises:
        InputError: see :func:`read_json`; or a field is missing, of another type or out of bounds.
    """
    try:
        return form.model_validate_json(read_bytes(path, largest), strict=True)
    except ValidationError as error:
        problems = "; ".join(
            ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
            for problem in error.errors(include_url=False, include_input=False)[:5]
        )
        raise InputError(
            f"{path}: not as this program writes it ({problems}). Delete it and run again."
        ) from error


def digest(*parts: bytes | str | Path) -> str:
    """Hex digest (128 bit) of bytes, strings and file contents, each delimited by its length."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        raw = data.encode() if isinstance(data, str) else data
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()


@cache
def _once(read: Callable[[Path], T], path: Path, size: int, written: int) -> T:
    return read(path)


def once(read: Callable[[Path], T], path: Path) -> T:
    """``read(path)``, remembered for as long as the file is the same by size and time."""
    try:
        stat = path.stat()
    except OSError:
        return read(path)
    return _once(read, path.absolute(), stat.st_size, stat.st_mtime_ns)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process alone; what a killed writer left half-written in it goes.

    Killing `dvc` leaves its child running; without the lock a second `dvc repro` would write the
    same cells at the same time.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    path = folder.parent / f".{folder.name}.lock"
    guard = filelock.FileLock(path, timeout=1)
    try:
        with told(path):
            folder.mkdir(parents=True, exist_ok=True)
            guard.acquire()
    except filelock.Timeout as error:
        raise InputError(
            f"{folder}: another metabench process is writing here. Wait for it or stop it, then "
            f"run {command()} again; finished cells are kept."
        ) from error
    try:
        for left in folder.rglob(f"{TEMPORARY}*"):
            left.unlink()
        yield
    finally:
        guard.release()
