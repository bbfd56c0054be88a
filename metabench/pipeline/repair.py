"""Mend what DVC leaves when it is killed in its own writes.

DVC writes ``dvc.lock`` and ``.dvc/tmp/rwlock`` in place. A kill, Ctrl-C or a full disk at that
moment leaves them empty or cut off, and from then on DVC refuses to run. All else of DVC's is whole
or absent: objects of its cache get their name last, its databases are transactional, and its other
locks go with the process that holds them.

Light: imports neither torch nor, while all is in order, much of DVC.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path

import psutil
from dvc.lock import Lock, LockError

from metabench.files import InputError, write_text

HEADER = "schema: '2.0'\nstages:\n"
AT_REST = "{}"
"""What a rwlock holds while DVC does not run."""


def repair(root: Path) -> list[str]:
    """Mend the DVC project in ``root``; returns what was done, a sentence each.

    A damaged file is moved aside, to ``.dvc/tmp/NAME.damaged``.

    Raises:
        InputError: no project; or DVC is at work in it, and what it holds is left alone.
    """
    if not (root / ".dvc").is_dir():
        raise InputError(f"{root.resolve()}: no DVC project here. Go to the project's folder.")
    folder = root / ".dvc/tmp"
    folder.mkdir(exist_ok=True)
    try:
        with Lock(str(folder / "lock")), Lock(str(folder / "rwlock.lock")):
            return _mend_lock_file(root, folder) + _mend_rwlock(root, folder)
    except LockError as error:
        holder = (_read(folder / "lock") or "").strip()
        raise InputError(
            f"{folder / 'lock'}: another DVC is at work here (process {holder}). Wait for it or "
            "stop it, then run this again; nothing was changed."
        ) from error


def _mend_lock_file(root: Path, folder: Path) -> list[str]:
    """``dvc.lock``: keep the entries that are whole, add others from the last whole file."""
    path, kept = root / "dvc.lock", folder / "dvc.lock.good"
    text = _read(path)
    if text is None or text == _read(kept):
        return []
    if _is_whole(text):
        write_text(kept, text)
        return []
    _require_rest(root, path)
    found = _entries(text)
    older = {k: v for k, v in _older_entries(root, kept).items() if k not in found}
    aside = _set_aside(path, folder)
    if found or older:
        write_text(path, HEADER + "".join((older | found).values()))
    return [
        f"{path} was damaged ({len(text)} characters are left): kept {len(found)} of its stages"
        + (f", took {len(older)} from an earlier version" if older else "")
        + "; `dvc repro` runs the others again, which reuse their finished cells. "
        f"The damaged file: {aside}"
    ]


def _is_whole(text: str) -> bool:
    """Whether DVC reads ``text`` as a lock file, and it is not cut within a line.

    Such a cut DVC may take for whole, and fail later without a word: ``md5: 305`` is a number.
    """
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import parse_yaml
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, "dvc.lock"))
    except (DvcException, Invalid):
        return False
    return text.endswith("\n")


def _entries(text: str | None) -> dict[str, str]:
    """The whole entries of a lock file, as text, by their first line."""
    blocks = re.split(r"^(?=  \S)", text or "", flags=re.MULTILINE)[1:]
    return {block.partition("\n")[0]: block for block in blocks if _is_whole(HEADER + block)}


def _older_entries(root: Path, kept: Path) -> dict[str, str]:
    """Entries of the version that git holds, and over them those of the last one seen whole.

    DVC takes an old entry for what it is: where it does not fit what is on disk, the stage runs.
    """
    shown = ""
    with contextlib.suppress(OSError):  # no git on this machine
        call = ["git", "show", "HEAD:./dvc.lock"]
        shown = subprocess.run(call, cwd=root, capture_output=True, text=True).stdout
    return _entries(shown) | _entries(_read(kept))


def _mend_rwlock(root: Path, folder: Path) -> list[str]:
    """``rwlock``, the list of who reads and writes what: nothing is lost with it."""
    path = folder / "rwlock"
    text = _read(path)
    if text in (None, AT_REST):
        return []
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        held = SCHEMA(json.loads(text))
    except (ValueError, Invalid):
        _require_rest(root, path)
        aside = _set_aside(path, folder)
        return [f"{path} was damaged: removed, as no DVC runs here. The damaged file: {aside}"]
    infos = [*held["write"].values(), *(info for infos in held["read"].values() for info in infos)]
    alive = {pid for pid in (info["pid"] for info in infos) if psutil.pid_exists(pid)}
    since = path.stat().st_mtime
    if alive and not any(_may_hold(root, pid, since) for pid in alive):
        aside = _set_aside(path, folder)
        numbers = ", ".join(map(str, sorted(alive)))
        return [
            f"{path} names a DVC that is gone: its number ({numbers}) is another process's by now. "
            f"Removed; the old file: {aside}"
        ]
    return []  # DVC itself takes out those that are gone


def _may_hold(root: Path, pid: int, since: float) -> bool:
    """Whether this is the process that wrote its number into a file at the time ``since``."""
    try:
        process = psutil.Process(pid)
        return _works_here(process, root) or process.create_time() <= since
    except psutil.NoSuchProcess:
        return False


def _works_here(process: psutil.Process, root: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        is_dvc = any(Path(word).name == "dvc" for word in process.cmdline()[:4])
        return is_dvc and Path(process.cwd()).is_relative_to(root.resolve())
    return False


def _require_rest(root: Path, path: Path) -> None:
    """See that no DVC runs in ``root`` or below: during a stage it holds no lock but the rwlock."""
    working = [p.pid for p in psutil.process_iter() if _works_here(p, root)]
    if working:
        raise InputError(
            f"{path}: damaged, but another DVC is at work here (process {working[0]}). Wait for it "
            "or stop it, then run `metabench repair`; nothing was changed."
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _set_aside(path: Path, folder: Path) -> Path:
    return path.replace(folder / f"{path.name}.damaged")
