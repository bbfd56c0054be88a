"""Set up a folder to work in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.base import (
    ELSEWHERE,
    GRAPH,
    PARAMS,
    Changes,
    command,
    say,
    with_changes,
)
from metabench.cli.completing import profiles as known_profiles
from metabench.config import of_text
from metabench.files import InputError, write_bytes


@command("Start")
def init(
    folder: Annotated[
        Path, typer.Argument(help="a new folder, or one without these files; default: this folder")
    ] = Path(),
    profile: Annotated[
        str,
        typer.Option(
            help="the profile that is copied to params.yaml", autocompletion=known_profiles
        ),
    ] = "default",
    scm: Annotated[bool, typer.Option(help="make the folder a git repository")] = True,
) -> None:
    """Create a folder to work in, with params.yaml, dvc.yaml, git and DVC."""
    from metabench.pipeline.project import initialise

    initialise(folder, profile, scm)
    go = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    say(f"profile {profile} is in use. Go on: {go}dvc repro")


@command("Start")
def profile(
    name: Annotated[
        str,
        typer.Argument(
            help="a profile of metabench, or a file of profiles/", autocompletion=known_profiles
        ),
    ],
    changes: Changes = None,
    force: Annotated[
        bool, typer.Option(help="overwrite a params.yaml that you have edited")
    ] = False,
) -> None:
    """Use another profile: copy NAME.yaml to params.yaml."""
    from metabench.pipeline.project import choose, profiles

    if not GRAPH.exists():
        raise InputError(f"no {GRAPH} here: {ELSEWHERE}")
    known = profiles(Path("profiles"))
    chosen = choose(name, known)
    current = PARAMS.read_bytes() if PARAMS.exists() else None
    if current is not None and current not in known.values() and not force:
        raise InputError(
            "params.yaml has edits of your own. Save it as profiles/<name>.yaml, or pass --force."
        )
    if changes:
        of_text(text := chosen.decode(errors="replace"), f"profile {name}")
        chosen = with_changes(text, changes)[0].encode()
    if current != chosen:
        write_bytes(PARAMS, chosen)
    say(f"profile {name} is in use")
