"""Set up a project's folder."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from metabench.cli.base import ELSEWHERE, PARAMS, PROFILES, command, say
from metabench.files import InputError, atomic


@command("Start")
def profile(
    name: Annotated[str, typer.Argument(help="a file of profiles/, without .yaml")],
    force: Annotated[bool, typer.Option(help="overwrite a params.yaml with own edits")] = False,
) -> None:
    """Make a profile the one in use: copies profiles/NAME.yaml to params.yaml."""
    known = {path.stem: path.read_bytes() for path in PROFILES.glob("*.yaml")}
    if not known:
        raise InputError(f"no {PROFILES}/ here: {ELSEWHERE}")
    if name not in known:
        near = difflib.get_close_matches(name, known)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"unknown profile '{name}'. {hint}Known: {', '.join(sorted(known))}.")
    current = PARAMS.read_bytes() if PARAMS.exists() else None
    if current is not None and current not in known.values() and not force:
        raise InputError(
            "params.yaml has edits of your own. Save it as profiles/<name>.yaml, or pass --force."
        )
    if current != known[name]:
        with atomic(PARAMS) as temporary:
            temporary.write_bytes(known[name])
    say(f"profile {name} is in use")
