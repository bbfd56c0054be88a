"""Your own methods and data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from metabench import shown
from metabench.cli.base import command, console, say, table_of
from metabench.cli.completing import datasets, methods
from metabench.files import InputError, plain_name


@command("Your own methods and data")
def check(
    method: Annotated[
        str,
        typer.Argument(help="a registered name, or my_pkg:MyMethod", autocompletion=methods),
    ],
) -> None:
    """Test a method for leaks, lost state and other faults, and explain each one found."""
    from metabench.conformance import check as examine

    with console.status(Text(f"examining {shown.visible(method)} …")):
        verdicts = examine(method)
    kinds = list(dict.fromkeys(v.kind for v in verdicts))
    marks = {
        True: Text("pass", "green"),
        False: Text("FAIL", "bold red"),
        None: Text("–"),
    }
    table = table_of("property", *kinds, "remark")
    for sentence in dict.fromkeys(v.property for v in verdicts):
        row = {v.kind: v for v in verdicts if v.property == sentence}
        remarks = dict.fromkeys(v.detail for v in row.values() if v.passed is None)
        remark = shown.visible("; ".join(remarks))
        table.add_row(sentence, *(marks[row[k].passed] for k in kinds), remark)
    console.print(table)
    wrong = [v for v in verdicts if v.passed is False]
    for verdict in wrong:
        say(f"{verdict.property} ({verdict.kind}):", style="bold red")
        say(f"  {verdict.detail}")
    if wrong:
        broken = len({v.property for v in wrong})
        verb = "is" if broken == 1 else "are"
        say(f"{method} does not conform: {broken} of its properties {verb} broken", style="red")
        raise typer.Exit(1)
    say(f"{method} conforms, on {', '.join(kinds)} data", style="green")


@command("Your own methods and data")
def bench(
    images: Annotated[
        Path | None, typer.Option(help="folder with one sub-folder of images per class")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="table of texts and labels: CSV, JSON lines or Parquet")
    ] = None,
    text_column: Annotated[str, typer.Option(help="column that holds the text")] = "text",
    label_column: Annotated[str, typer.Option(help="column that holds the class")] = "label",
    separator: Annotated[
        str,
        typer.Option(help="separator of a CSV file, `tab` for a tab; by default it is detected"),
    ] = "",
    encoding: Annotated[
        str,
        typer.Option(
            help="encoding of a CSV file, such as cp1252; default: UTF-8, or UTF-16 by its mark"
        ),
    ] = "",
    max_pieces: Annotated[
        int, typer.Option(min=8, max=512, help="number of word pieces that are read of each text")
    ] = 256,
    name: Annotated[
        str,
        typer.Option(help="the folder is practice/NAME; by default it has the name of the data"),
    ] = "",
    mode: Annotated[str, typer.Option(help="class-disjoint, all-way or auto")] = "auto",
    source: Annotated[
        str,
        typer.Option(
            help="dataset on which all-way image methods are trained", autocompletion=datasets
        ),
    ] = "glyphs",
    seeds: Annotated[int, typer.Option(min=3, max=1000, help="training runs of each method")] = 3,
) -> None:
    """Run few-shot methods on your own images or texts, and recommend one of them."""
    from metabench.data.own import by_reason, read_images, read_texts
    from metabench.practice import running

    modes: dict[str, running.Mode | None] = {
        "auto": None,
        "class-disjoint": "class-disjoint",
        "all-way": "all-way",
    }
    if mode not in modes:
        raise InputError(f"--mode {mode}: must be one of {', '.join(modes)}")
    if images is not None and csv is None:
        root = _work_folder(name, images.resolve().name)
        user_data = read_images(images)
    elif csv is not None and images is None:
        root = _work_folder(name, Path(csv.name.removesuffix(".gz")).stem)
        user_data = read_texts(csv, text_column, label_column, separator, encoding, max_pieces)
    else:
        raise InputError("bench takes one of --images FOLDER and --csv FILE")
    say(f"{user_data.summary}; {user_data.left_out} left out")
    reasons = by_reason(user_data.skipped)
    lines = [f"  {line}" for line in reasons[:10]]
    lines += [f"  … {len(reasons) - 10} more reasons"] if len(reasons) > 10 else []
    for line in (*lines, *user_data.notes):
        say(line)
    chosen = running.plan(user_data, modes[mode], source, seeds)
    say(f"{chosen.mode}: {chosen.why}")
    say(running.run_plan(user_data, chosen, root))


def _work_folder(name: str, title: str) -> Path:
    """``practice/NAME``, which lies in this folder.

    Raises:
        InputError: the name is no plain one, or a link leads out of this folder.
    """
    where = "--name" if name else "the data's name (pass another with --name)"
    folder = Path("practice") / plain_name(name or title, where, also=" ()[]{}+,;=@#%&!'")
    if not folder.resolve().is_relative_to(Path.cwd().resolve()):
        raise InputError(
            f"{folder}: a link leads to {folder.resolve()}, outside of this folder. Remove it, or "
            "pass another --name."
        )
    return folder


@command("Your own methods and data")
def export(
    run: Annotated[
        str, typer.Argument(help="runs/<source>/<method>/<level>/<seed>, or an MLflow run id")
    ],
    folder: Annotated[Path, typer.Argument(help="folder to which the model is written")],
    trust: Annotated[
        bool,
        typer.Option(
            help="allow importing a method or backbone that the learner names by dotted path"
        ),
    ] = False,
) -> None:
    """Write a learner as an MLflow model, which `mlflow models serve` can serve."""
    from metabench.practice.exporting import export as write

    write(run, folder, trust)
    say(f"mlflow models serve -m {shlex.quote(str(folder))} --env-manager local")
