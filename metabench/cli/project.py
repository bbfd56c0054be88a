"""Set up a project's folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from metabench.cli.base import ELSEWHERE, GRAPH, PARAMS, command, say
from metabench.files import InputError, write_bytes


@command("Start")
def init(
    folder: Annotated[Path, typer.Argument(help="a new one, or one without such files")],
    profile: Annotated[str, typer.Option(help="what params.yaml asks for at first")] = "default",
    scm: Annotated[bool, typer.Option(help="keep the folder in git")] = True,
) -> None:
    """Make a folder to work in, anywhere: params.yaml, dvc.yaml, git and DVC."""
    from metabench.pipeline.project import initialise

    initialise(folder, profile, scm)
    say(f"profile {profile} is in use. Go on: cd {shlex.quote(str(folder))} && dvc repro")


@command("Start")
def profile(
    name: Annotated[str, typer.Argument(help="of metabench, or a file of profiles/")],
    force: Annotated[bool, typer.Option(help="overwrite a params.yaml with own edits")] = False,
) -> None:
    """Make a profile the one in use: copies NAME.yaml to params.yaml."""
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
    if current != chosen:
        write_bytes(PARAMS, chosen)
    say(f"profile {name} is in use")
