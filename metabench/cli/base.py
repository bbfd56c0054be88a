"""What all commands share: how one is registered, how it fails, how it prints."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

import metabench
from metabench import shown
from metabench.config import Config, load, of_text
from metabench.config.editing import changed
from metabench.config.yaml_file import text_of
from metabench.files import InputError, refusal

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
console = shown.console()
GRAPH = Path("dvc.yaml")
PARAMS = Path("params.yaml")
ELSEWHERE = "run it in the project's folder (`metabench init FOLDER` makes one)"

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="change a parameter, such as seeds=[0] or classification.budget.examples=5000; "
        "can be given several times",
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"metabench {metabench.__version__}")
        raise typer.Exit


@app.callback(
    epilog="To begin, run `metabench init FOLDER`, and in that folder `dvc repro` and `metabench "
    "where`. Then edit params.yaml: `metabench list` and `metabench show` say what it can name."
)
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Compare meta-learning with transfer learning on identical few-shot episodes."""


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


def config_in_use(changes: Sequence[str] = ()) -> Config:
    """The parameters in use, with changes from the command line.

    Raises:
        InputError: they are wrong, or this is no project's folder.
    """
    if not PARAMS.exists():
        fix = "`metabench profile NAME` makes it" if GRAPH.exists() else ELSEWHERE
        raise InputError(f"no {PARAMS} here: {fix}")
    config = load(PARAMS)
    return with_changes(text_of(PARAMS), changes)[1] if changes else config


def with_changes(text: str, changes: Sequence[str]) -> tuple[str, Config]:
    """A valid ``params.yaml`` with changes ``KEY=VALUE``: its new text, and what that says.

    Raises:
        InputError: unknown key, wrong value, or names that stand for nothing.
    """
    from metabench.pipeline.validation import validate_names  # imports torch

    new = changed(text, changes)
    config = of_text(new, "--set")
    validate_names(config, Path(), "--set")
    return new, config
