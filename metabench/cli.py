"""The command line: ``metabench`` or ``python -m metabench``."""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from metabench import config as settings
from metabench import shown
from metabench.files import InputError, atomic, plain_name, refusal

app = typer.Typer(
    help="Few labels, new domain: meta-learn or transfer, with which method, at what cost?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = shown.console()
PROFILES = Path("profiles")
PARAMS = Path("params.yaml")


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a command whose expected failures end in one message and exit code 1."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
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

    return app.command(name=function.__name__.strip("_"))(wrapped)


def _fail(error: InputError) -> None:
    shown.console(stderr=True).print(shown.message(error), style="red", soft_wrap=True)
    raise typer.Exit(1) from error


def say(text: str, style: str | None = None) -> None:
    """Print ``text`` as it is: no markup, no line ends but its own."""
    console.print(shown.visible(text, kept="\n"), style=style, soft_wrap=True)


def _table(*heads: str) -> Table:
    """A table whose cells are folded on a narrow terminal, never cut."""
    table = Table()
    for head in heads:
        table.add_column(shown.visible(head), overflow="fold")
    return table


def _config() -> settings.Config:
    """The settings in use.

    Raises:
        InputError: they are wrong, or this is no project's folder.
    """
    if not PARAMS.exists():
        fix = "`metabench profile NAME` makes it" if PROFILES.is_dir() else _ELSEWHERE
        raise InputError(f"no {PARAMS} here: {fix}")
    return settings.load()


_ELSEWHERE = "run it in the project's folder"


@command
def _list() -> None:
    """Every method: name, family, paper, flags."""
    from metabench.methods import METHODS

    table = _table("method", "family", "paper", "source training", "start", "data", "flags")
    for name in METHODS.names():
        cls = METHODS.load(name)
        flags = [*(["transductive"] if cls.transductive else [])]
        flags += [] if cls.variable_ways else ["fixed ways"]
        kinds = ", ".join(sorted(cls.kinds))
        table.add_row(
            name, cls.family, cls.paper, cls.source_training, cls.start, kinds, ", ".join(flags)
        )
    console.print(table)


@command
def profile(
    name: Annotated[str, typer.Argument(help="a file of profiles/, without .yaml")],
    force: Annotated[bool, typer.Option(help="overwrite a params.yaml with own edits")] = False,
) -> None:
    """Make a profile the one in use: copies profiles/NAME.yaml to params.yaml."""
    known = {path.stem: path.read_bytes() for path in PROFILES.glob("*.yaml")}
    if not known:
        raise InputError(f"no {PROFILES}/ here: {_ELSEWHERE}")
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


@command
def where() -> None:
    """Where the reports are and how to look at the runs."""
    folder = Path(_config().reports)
    board = folder / "leaderboard.md"
    say(f"leaderboard: {board}{'' if board.exists() else ' (not made yet: run `dvc repro`)'}")
    for extra in ("index.html", "decision_guide.md"):
        if (folder / extra).exists():
            say(f"             {folder / extra}")
    say("runs in the MLflow UI: make ui")


@command
def repair() -> None:
    """Mend what DVC leaves when it is killed in its own writes; `make bench` does so first."""
    from metabench.pipeline.repair import repair as mend

    for sentence in mend(Path()) or ["nothing to repair"]:
        say(sentence)


@command
def report(
    readme: Annotated[bool, typer.Option(help="also renew the excerpt in README.md")] = False,
) -> None:
    """Write all reports again from the results on disk, and reproduction.md from all profiles."""
    from metabench.pipeline.layout import Layout
    from metabench.reports.excerpt import update_readme
    from metabench.reports.reproduction import write_reproduction
    from metabench.reports.writing import report as write

    config = _config()
    write(config, Layout())
    say(f"written: {config.reports}")
    say(f"written: {write_reproduction(Path('reports'))}")
    if readme:
        update_readme(Path("README.md"), Path("reports/leaderboard.csv"))
        say("written: README.md")


@command
def compare(
    first: Annotated[str, typer.Argument(help="a method of params.yaml")],
    second: Annotated[str, typer.Argument(help="another")],
    source: Annotated[str, typer.Option(help="only this source")] = "",
    target: Annotated[str, typer.Option(help="only this target")] = "",
    shots: Annotated[int, typer.Option(help="only this number of shots; 0: all")] = 0,
) -> None:
    """Compare two methods on identical episodes, block by block: tied, behind or undecided."""
    from metabench.pipeline.layout import Layout
    from metabench.pipeline.results import collect
    from metabench.reports.compare import comparisons

    results, costs = collect(_config(), Layout(), methods=(first, second))
    table = _table("source → target", "setting", first, second, "difference", "verdict")
    wanted = {"source": source, "target": target, "shots": shots}
    asked = {k: v for k, v in wanted.items() if v}
    for row in comparisons(results, costs, first, second, asked):
        table.add_row(*map(shown.visible, row))
    console.print(table)
    say(
        "Difference: first − second, and its 95 % interval over seeds and episodes; those of all "
        "rows hold at once. Tied: inside ± 1 point (of an error: 5 %) with confidence.",
        style="dim",
    )


@command
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on this machine")] = 5000,
) -> None:
    """Open the MLflow UI on the runs of this folder (or of MLFLOW_TRACKING_URI)."""
    from metabench.tracking.runs import check_store, wanted_uri

    uri = wanted_uri()
    page = "/#/experiments?workflowType=machine_learning"  # MLflow 3 opens its GenAI pages first
    if uri.startswith("http"):
        say(f"{shown.masked(uri).rstrip('/')}{page}")
        return
    if not os.environ.get("MLFLOW_TRACKING_URI") and not Path("mlflow.db").exists():
        raise InputError(f"no mlflow.db here: {_ELSEWHERE}, after `dvc repro`")
    check_store(uri)
    _check_port(port)
    say(f"http://127.0.0.1:{port}{page}  (Ctrl-C to stop)")
    # by the environment: a list of processes shows everybody what is on a command line
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    call = [sys.executable, "-c", _SERVE, "ui", "--workers", "1", "--port", str(port)]
    # a group of its own: on Ctrl-C every process of the server would print a traceback
    process = subprocess.Popen(call, start_new_session=True, env=environment, stdin=subprocess.PIPE)
    try:
        with _ended_by(signal.SIGTERM, signal.SIGHUP):
            process.wait()
        raise InputError("the server has ended; what it says above tells why")
    except KeyboardInterrupt:
        say("stopped")
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(timeout=10)


_SERVE = """
import os, signal, threading
def end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGTERM)
threading.Thread(target=end_with_parent, daemon=True).start()
from mlflow.cli import cli
cli(prog_name="mlflow")
"""
"""MLflow's command; the pipe from the parent ends when the parent does, however that was."""


def _check_port(port: int) -> None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
            raise InputError(f"port {port} {reason}: pass another one with --port") from error


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Within it these signals end the command as they would, but by an exception."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}  # nohup ignores SIGHUP
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@command
def export(
    run: Annotated[str, typer.Argument(help="runs/<source>/<method>/<seed>, or an MLflow run id")],
    folder: Annotated[Path, typer.Argument(help="where the model goes")],
    trust: Annotated[
        bool, typer.Option(help="import a method or backbone that the learner names by dotted path")
    ] = False,
) -> None:
    """Write a learner as an MLflow model, to serve with `mlflow models serve`."""
    from metabench.practice.exporting import export as write

    write(run, folder, trust)
    say(f"mlflow models serve -m {shlex.quote(str(folder))} --env-manager local")


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
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="training runs of each method")] = 3,
) -> None:
    """Run few-shot methods on your own data: leaderboard, recommendation, learner to use."""
    from metabench.practice import running as own_bench
    from metabench.practice.reading import by_reason, read_images, read_texts

    modes: dict[str, own_bench.Mode | None] = {
        "auto": None,
        "class-disjoint": "class-disjoint",
        "all-way": "all-way",
    }
    if mode not in modes:
        raise InputError(f"--mode {mode}: must be one of {', '.join(modes)}")
    if images is not None and csv is None:
        root = _work_folder(name, images.resolve().name)
        own = read_images(images)
    elif csv is not None and images is None:
        root = _work_folder(name, Path(csv.name.removesuffix(".gz")).stem)
        own = read_texts(csv, text_column, label_column, separator, encoding, max_pieces)
    else:
        raise InputError("bench takes one of --images FOLDER and --csv FILE")
    say(f"{own.summary}; {own.left_out} left out")
    reasons = by_reason(own.skipped)
    lines = [f"  {line}" for line in reasons[:10]]
    lines += [f"  … {len(reasons) - 10} more reasons"] if len(reasons) > 10 else []
    for line in (*lines, *own.notes):
        say(line)
    chosen = own_bench.plan(own, modes[mode], source, seeds)
    say(f"{chosen.mode}: {chosen.why}")
    say(own_bench.run(own, chosen, root))


def _work_folder(name: str, title: str) -> Path:
    """``bench/NAME``, which lies in this folder.

    Raises:
        InputError: the name is no plain one, or a link leads out of this folder.
    """
    where = "--name" if name else "the data's name (pass another with --name)"
    folder = Path("bench") / plain_name(name or title, where, also=" ()[]{}+,;=@#%&!'")
    if not folder.resolve().is_relative_to(Path.cwd().resolve()):
        raise InputError(
            f"{folder}: a link leads to {folder.resolve()}, outside of this folder. Remove it, or "
            "pass another --name."
        )
    return folder


@command
def check(
    method: Annotated[str, typer.Argument(help="a registered name, or my_pkg:MyMethod")],
) -> None:
    """Examine a method: leaks, state that is lost, names that matter; says what is wrong."""
    from metabench.conformance import check as examine

    sys.path.insert(0, str(Path.cwd()))  # where the user's module is
    with console.status(Text(f"examining {shown.visible(method)} …")):
        verdicts = examine(method)
    kinds = list(dict.fromkeys(v.kind for v in verdicts))
    marks = {
        True: Text("pass", "green"),
        False: Text("FAIL", "bold red"),
        None: Text("–"),
    }
    table = _table("property", *kinds, "remark")
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
        say(f"{method} does not conform: {broken} properties are broken", style="red")
        raise typer.Exit(1)
    say(f"{method} conforms, on {', '.join(kinds)} data", style="green")
