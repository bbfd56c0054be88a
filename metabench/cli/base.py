"""What all commands share: how one is registered, how it fails, how it prints."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from metabench import config as settings
from metabench import shown
from metabench.files import InputError, refusal

app = typer.Typer(
    help="Few labels, new domain: meta-learn or transfer, with which method, at what cost?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = shown.console()
GRAPH = Path("dvc.yaml")
PARAMS = Path("params.yaml")
ELSEWHERE = "run it in the project's folder (`metabench init FOLDER` makes one)"


def command(group: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a command in a group of `metabench --help`.

    Its expected failures end in one message and exit code 1.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            sys.path.append(str(Path.cwd()))  # a user's modules; last, to hide no library
            try:
                return function(*args, **kwargs)
            except InputError as error:
                _fail(error)
            except KeyboardInterrupt:
                shown.console(stderr=True).print("interrupted; what was finished is kept")
                raise typer.Exit(130) from None
            except OSError as error:
                found = refusal(error)
                if found is None:
                    raise
                _fail(found)

        return app.command(function.__name__.strip("_"), rich_help_panel=group)(wrapped)

    return register


def _fail(error: InputError) -> None:
    shown.console(stderr=True).print(shown.message(error), style="red", soft_wrap=True)
    raise typer.Exit(1) from error


def say(text: str, style: str | None = None) -> None:
    """Print ``text`` as it is: no markup, no line ends but its own."""
    console.print(shown.visible(text, kept="\n"), style=style, soft_wrap=True)


def table_of(*heads: str) -> Table:
    """A table whose cells are folded on a narrow terminal, never cut."""
    table = Table()
    for head in heads:
        table.add_column(shown.visible(head), overflow="fold")
    return table


def config_in_use() -> settings.Config:
    """The settings in use.

    Raises:
        InputError: they are wrong, or this is no project's folder.
    """
    if not PARAMS.exists():
        fix = "`metabench profile NAME` makes it" if GRAPH.exists() else ELSEWHERE
        raise InputError(f"no {PARAMS} here: {fix}")
    return settings.load()
