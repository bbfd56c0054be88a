"""The folder that a user works in, outside of a checkout: what it begins with, and the profiles."""

from __future__ import annotations

import difflib
import subprocess
from pathlib import Path

from metabench.files import InputError, told, write_bytes

PACKAGE = Path(__file__).parents[1]
TEMPLATE = PACKAGE / "template" if (PACKAGE / "template").is_dir() else PACKAGE.parent
"""Holds what a folder begins with: a wheel has it inside of the package, a checkout beside it."""
COPIED = (".dvcignore", ".gitignore", "dvc.yaml", ".dvc/plots/shots.json")


def profiles(*folders: Path) -> dict[str, bytes]:
    """Name and content of the profiles that came with metabench, and of those in ``folders``."""
    places = (TEMPLATE / "profiles", *folders)
    return {path.stem: path.read_bytes() for place in places for path in place.glob("*.yaml")}


def choose(name: str, known: dict[str, bytes]) -> bytes:
    """The content of the profile ``name``.

    Raises:
        InputError: there is none of that name.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"unknown profile '{name}'. {hint}Known: {', '.join(sorted(known))}.")
    return known[name]


def initialise(folder: Path, profile: str, scm: bool = True) -> None:
    """Make ``folder`` one in which ``dvc repro`` runs ``profile``.

    It gets ``params.yaml``, ``dvc.yaml`` and what git and DVC ignore. No code: ``dvc.yaml`` calls
    ``python -m stages.NAME``, which is installed beside metabench, so that an upgrade renews it.

    Args:
        scm: the folder is, or becomes, one of git; DVC does without it else.

    Raises:
        InputError: no such profile; the folder holds such files; git or DVC refuse.
    """
    params = choose(profile, profiles())
    there = [name for name in (".dvc", *COPIED, "params.yaml") if (folder / name).exists()]
    if there:
        raise InputError(
            f"{folder}: holds {', '.join(there)}, and nothing of yours is overwritten. Take "
            "another folder, or move them away."
        )
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _initialise_dvc(folder, scm)
    for name in COPIED:
        write_bytes(folder / name, (TEMPLATE / name).read_bytes())
    write_bytes(folder / "params.yaml", params)


def _initialise_dvc(folder: Path, scm: bool) -> None:
    """``git init``, unless the folder is in a repository, and ``dvc init``.

    Raises:
        InputError: there is no git, or DVC does not like the place.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    top = _repository_of(folder) if scm else None
    if scm and top is None:
        _git(folder, "init", "--quiet")
        top = folder.resolve()
    try:
        with Repo.init(str(folder), no_scm=not scm, subdir=scm and top != folder.resolve()) as repo:
            ours = Config.load_file(str(TEMPLATE / ".dvc/config"))
            with repo.config.edit() as values:
                values["core"].update(ours["core"])
    except DvcException as error:
        raise InputError(f"{folder}: DVC cannot be set up here: {error}") from error


def _repository_of(folder: Path) -> Path | None:
    """The top of the git repository that ``folder`` lies in."""
    found = _git(folder, "rev-parse", "--show-toplevel", check=False).strip()
    return Path(found).resolve() if found else None


def _git(folder: Path, *words: str, check: bool = True) -> str:
    """What git says of ``folder``.

    Raises:
        InputError: there is no git, or it fails where it must not.
    """
    try:
        ended = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise InputError("git is not installed. Install it, or pass --no-scm.") from error
    if check and ended.returncode:
        raise InputError(f"{folder}: git {words[0]} fails: {ended.stderr.strip()}")
    return ended.stdout
