"""The command line: ``metabench`` or ``python -m metabench``."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from metabench import config as settings
from metabench.files import InputError, write_text

app = typer.Typer(
    help="Few labels, new domain: meta-learn or transfer, with which method, at what cost?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
PROFILES = Path("profiles")


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a command whose expected failures end in one message and exit code 1."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except InputError as error:
            Console(stderr=True).print(f"error: {error}", style="red", highlight=False)
            raise typer.Exit(1) from error

    return app.command(name=function.__name__.strip("_"))(wrapped)


@command
def _list() -> None:
    """Every method: name, family, paper, flags."""
    from metabench.methods import METHODS

    table = Table("method", "family", "paper", "learns from", "start", "data", "flags")
    for name in METHODS.names():
        cls = METHODS.load(name)
        flags = [*(["transductive"] if cls.transductive else [])]
        flags += [] if cls.any_ways else ["fixed ways"]
        kinds = ", ".join(sorted(cls.kinds))
        table.add_row(
            name, cls.family, cls.paper, cls.learns_from, cls.start, kinds, ", ".join(flags)
        )
    console.print(table)


@command
def profile(
    name: Annotated[str, typer.Argument(help="a file of profiles/, without .yaml")],
    force: Annotated[bool, typer.Option(help="overwrite a params.yaml with own edits")] = False,
) -> None:
    """Make a profile the one in use: copies profiles/NAME.yaml to params.yaml."""
    known = {path.stem: path.read_text(encoding="utf-8") for path in PROFILES.glob("*.yaml")}
    if name not in known:
        raise InputError(f"unknown profile '{name}'. Known: {', '.join(sorted(known))}.")
    params = Path("params.yaml")
    current = params.read_text(encoding="utf-8") if params.exists() else None
    if current is not None and current not in known.values() and not force:
        raise InputError(
            "params.yaml has edits of your own. Save it as profiles/<name>.yaml, or pass --force."
        )
    if current != known[name]:
        write_text(params, known[name])
    console.print(f"profile {name} is in use")


@command
def where() -> None:
    """Where the reports are and how to look at the runs."""
    config = settings.load()
    folder = Path(config.reports)
    console.print(f"leaderboard: {folder / 'leaderboard.md'}")
    for extra in ("index.html", "decision_guide.md"):
        if (folder / extra).exists():
            console.print(f"             {folder / extra}")
    console.print("runs in the MLflow UI: make ui")


@command
def report(
    readme: Annotated[bool, typer.Option(help="also renew the excerpt in README.md")] = False,
) -> None:
    """Write all reports again from the results on disk, and reproduction.md from all profiles."""
    from metabench.layout import Layout
    from metabench.reports.excerpt import update_readme
    from metabench.reports.reproduction import write_reproduction
    from metabench.results import report as write

    config = settings.load()
    write(config, Layout())
    console.print(f"written: {config.reports}", highlight=False)
    console.print(f"written: {write_reproduction(Path('reports'))}", highlight=False)
    if readme:
        update_readme(Path("README.md"), Path("reports/leaderboard.csv"))
        console.print("written: README.md", highlight=False)


@command
def compare(
    first: Annotated[str, typer.Argument(help="a method of params.yaml")],
    second: Annotated[str, typer.Argument(help="another")],
    source: Annotated[str, typer.Option(help="only this source")] = "",
    target: Annotated[str, typer.Option(help="only this target")] = "",
    shots: Annotated[int, typer.Option(help="only this number of shots; 0: all")] = 0,
) -> None:
    """Compare two methods by the paired test on identical episodes, block by block."""
    from metabench.layout import Layout
    from metabench.reports.compare import comparisons
    from metabench.results import collect

    results, _ = collect(settings.load(), Layout(), methods=(first, second))
    table = Table("source → target", "setting", first, second, "difference", "p (Holm)", "verdict")
    wanted = {"source": source, "target": target, "shots": shots}
    for row in comparisons(results, first, second, {k: v for k, v in wanted.items() if v}):
        table.add_row(*row)
    console.print(table)
    console.print(
        "Difference: first − second, ± half of the 95 % interval over seeds and episodes; p after "
        "Holm over the rows.",
        style="dim",
    )


@command
def ui(port: Annotated[int, typer.Option(help="port on this machine")] = 5000) -> None:
    """Open the MLflow UI on the runs of this folder (or of MLFLOW_TRACKING_URI)."""
    from metabench.tracking import wanted_uri

    uri = wanted_uri()
    page = "/#/experiments?workflowType=machine_learning"  # MLflow 3 opens its GenAI pages first
    if uri.startswith("http"):
        console.print(f"{uri.rstrip('/')}{page}", soft_wrap=True)
        return
    console.print(f"http://127.0.0.1:{port}{page}  (Ctrl-C to stop)", soft_wrap=True)
    call = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--workers", "1"]
    call += ["--port", str(port)]
    # a group of its own: on Ctrl-C every process of the server would print a traceback
    process = subprocess.Popen(call, start_new_session=True)
    try:
        raise typer.Exit(process.wait())
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


@command
def export(
    run: Annotated[str, typer.Argument(help="runs/<source>/<method>/<seed>, or an MLflow run id")],
    folder: Annotated[Path, typer.Argument(help="where the model goes")],
) -> None:
    """Write a learner as an MLflow model, to serve with `mlflow models serve`."""
    from metabench.serving import export as write

    write(run, folder)
    console.print(f"mlflow models serve -m {folder} --env-manager local", soft_wrap=True)


@command
def bench(
    images: Annotated[
        Path | None, typer.Option(help="folder with one sub-folder of images per class")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="table of texts and labels: CSV, JSON lines or Parquet")
    ] = None,
    text_column: Annotated[str, typer.Option(help="column of CSV that holds the text")] = "text",
    label_column: Annotated[str, typer.Option(help="column that holds the class")] = "label",
    separator: Annotated[
        str, typer.Option(help="of the columns of CSV, `tab` for a tab; default: found")
    ] = "",
    encoding: Annotated[
        str, typer.Option(help="of CSV, as cp1252; default: UTF-8, or as its mark says")
    ] = "",
    max_pieces: Annotated[
        int, typer.Option(min=8, max=512, help="word pieces of a text that are read")
    ] = 256,
    name: Annotated[str, typer.Option(help="work folder bench/NAME; default: as the data")] = "",
    mode: Annotated[str, typer.Option(help="class-disjoint, all-way, or auto")] = "auto",
    source: Annotated[
        str, typer.Option(help="dataset for all-way learners of images to learn from")
    ] = "glyphs",
    seeds: Annotated[int, typer.Option(min=1, help="training runs of each method")] = 2,
) -> None:
    """Run few-shot methods on your own data: leaderboard, recommendation, learner to use."""
    from metabench import bench as own_bench
    from metabench.data.own import read_images, read_texts

    modes: dict[str, own_bench.Mode | None] = {
        "auto": None,
        "class-disjoint": "class-disjoint",
        "all-way": "all-way",
    }
    if mode not in modes:
        raise InputError(f"--mode {mode}: must be one of {', '.join(modes)}")
    if images is not None and csv is None:
        title, own = images.resolve().name, read_images(images)
    elif csv is not None and images is None:
        title = Path(csv.name.removesuffix(".gz")).stem
        own = read_texts(csv, text_column, label_column, separator, encoding, max_pieces)
    else:
        raise InputError("bench takes one of --images FOLDER and --csv FILE")
    console.print(f"{own.summary}; {own.left_out} left out")
    lines = [f"  {path}: {reason}" for path, reason in own.skipped[:10]]
    lines += [f"  … {len(own.skipped) - 10} more"] if len(own.skipped) > 10 else []
    for line in (*lines, *own.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    chosen = own_bench.plan(own, modes[mode], source, seeds)
    console.print(f"{chosen.mode}: {chosen.why}", markup=False, highlight=False)
    text = own_bench.run(own, chosen, Path("bench") / (name or title))
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@command
def check(
    method: Annotated[str, typer.Argument(help="a registered name, or my_pkg:MyMethod")],
) -> None:
    """Examine a method: leaks, state that is lost, names that matter; says what is wrong."""
    from metabench.conformance import check as examine

    sys.path.insert(0, str(Path.cwd()))  # where the user's module is
    with console.status(f"examining {method} …"):
        verdicts = examine(method)
    kinds = list(dict.fromkeys(v.kind for v in verdicts))
    marks = {True: "[green]pass[/]", False: "[bold red]FAIL[/]", None: "–"}
    table = Table("property", *kinds, "remark")
    for sentence in dict.fromkeys(v.property for v in verdicts):
        row = {v.kind: v for v in verdicts if v.property == sentence}
        remarks = dict.fromkeys(v.detail for v in row.values() if v.passed is None)
        table.add_row(sentence, *(marks[row[k].passed] for k in kinds), "; ".join(remarks))
    console.print(table)
    wrong = [v for v in verdicts if v.passed is False]
    for verdict in wrong:
        console.print(f"[bold red]{verdict.property}[/] ({verdict.kind}):", highlight=False)
        console.print(f"  {verdict.detail}", markup=False, highlight=False)
    if wrong:
        broken = len({v.property for v in wrong})
        console.print(f"{method} does not conform: {broken} properties are broken", style="red")
        raise typer.Exit(1)
    console.print(f"{method} conforms, on {', '.join(kinds)} data", style="green")
