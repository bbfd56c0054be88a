"""Which cells are computed, in which order, and what the user is told; an engine computes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from metabench import shown
from metabench.config import Compute
from metabench.files import InputError
from metabench.pipeline import local_engine
from metabench.pipeline.engine import Engine, Job


class CellFailed(InputError):
    """Cells ended with errors; the message says which and why."""


def run_cells(
    jobs: Sequence[Job],
    compute: Compute,
    finished: Callable[[Job], Any] = lambda job: None,
    engine: Engine = local_engine.run,
) -> None:
    """Run what is not finished of ``jobs``, ``compute.workers`` at a time, the longest first.

    So no long one is left at the end for which the other workers would wait; of equals the first
    comes first. Progress is a bar for all and one for each that runs on a terminal, and one line a
    finished cell elsewhere. If a cell fails the others are still finished (their results are kept),
    then the failure is raised.

    Args:
        finished: called with each job that succeeded, as soon as it has.
        engine: computes them.

    Raises:
        CellFailed: naming every failed cell and its reason.
    """
    waiting = sorted((job for job in jobs if not job.finished), key=lambda job: -job.seconds)
    console = shown.console(stderr=True)
    if len(waiting) < len(jobs):
        what = jobs[0].name.partition(" ")[0]  # "train glyphs/maml/0"
        count = f"{len(jobs) - len(waiting)} of {len(jobs)} cells are finished already"
        console.print(f"{what}: {count}", markup=False)
    if not waiting:
        return
    failures: dict[str, str] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with (
        contextlib.closing(engine(waiting, compute)) as events,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        finished_already = len(jobs) - len(waiting)
        whole = progress.add_task(
            f"{len(jobs)} cells", total=len(jobs), completed=finished_already, text=""
        )
        bars = {}
        for job, what, share, text in events:
            if what == "begun":
                bars[job.name] = progress.add_task(job.name, total=1.0, text="")
                continue
            if what == "progress":
                progress.update(bars[job.name], completed=share, text=text)
                continue
            if what == "failed":
                failures[job.name] = text
            else:
                finished(job)
            progress.remove_task(bars.pop(job.name))
            progress.advance(whole)
            if not console.is_terminal:
                console.print(f"{job.name}: {what}")
    if failures:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in failures.items())
        kept = len(jobs) - len(failures)
        raise CellFailed(f"{len(failures)} of {len(jobs)} cells failed ({kept} kept).\n{reasons}")
