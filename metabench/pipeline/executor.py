"""Fan-out of cells over local processes, with progress; the driver alone keeps records."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing as mp
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.forkserver import ensure_running
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


class CellFailed(InputError):
    """Cells ended with errors; the message says which and why."""


@dataclass(frozen=True)
class Job:
    """One cell to compute: ``function(report=..., **arguments)`` in a process of its own.

    The function is named, ``package.module:function``, so that the driver need not import it, nor
    torch with it. A job that is ``finished`` is counted, and not run.
    """

    name: str
    function: str
    arguments: dict[str, Any]
    finished: bool = False


def _die_with_parent() -> None:
    """End this process when the driver is gone, however it went."""
    parent = mp.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(job: Job, threads: int, messages: Any) -> None:
    # Ctrl-C reaches the whole terminal group; the driver alone answers it, and ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    try:
        from metabench.runtime import configure

        configure(threads)
        module, name = job.function.split(":")
        getattr(importlib.import_module(module), name)(
            report=lambda share, text: messages.put((job.name, "progress", (share, text))),
            **job.arguments,
        )
        messages.put((job.name, "done", None))
    except InputError as error:
        messages.put((job.name, "failed", str(error)))
    except Exception as error:
        detail = "" if isinstance(error, RuntimeError | OSError) else traceback.format_exc()
        messages.put((job.name, "failed", f"{type(error).__name__}: {error}\n{detail}".strip()))


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back; processes started meanwhile inherit the mask and never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def warm_up(jobs: Sequence[Job]) -> Any:
    """Start the server that forks the workers; it imports what ``jobs`` need while we go on."""
    context = mp.get_context("forkserver")
    needed = sorted({job.function.split(":")[0] for job in jobs})
    context.set_forkserver_preload(["metabench.pipeline.pinned", *needed])
    resource_tracker.ensure_running()  # lifts the mask if it is started later
    with _no_interrupts():
        ensure_running()
    return context


def run_cells(
    jobs: Sequence[Job], compute: Compute, finished: Callable[[Job], Any] = lambda job: None
) -> None:
    """Run what is not finished of ``jobs``, ``compute.workers`` at a time, in fresh processes.

    A fresh process a cell makes its peak memory its own. Progress is a bar for all and one for each
    that runs on a terminal, and one line a finished cell elsewhere. If a cell fails the others are
    still finished (their results are kept), then the failure is raised.

    Args:
        finished: called with each job that succeeded, as soon as it has.

    Raises:
        CellFailed: naming every failed cell and its reason.
    """
    waiting = [job for job in jobs if not job.finished]
    console = shown.console(stderr=True)
    if len(waiting) < len(jobs):
        what = jobs[0].name.partition(" ")[0]  # "train glyphs/maml/0"
        count = f"{len(jobs) - len(waiting)} of {len(jobs)} cells are finished already"
        console.print(f"{what}: {count}", markup=False)
    if not waiting:
        return
    context = warm_up(waiting)
    messages = context.Queue()
    named = {job.name: job for job in waiting}
    running: dict[str, Any] = {}
    failures: dict[str, str] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        finished_already = len(jobs) - len(waiting)
        whole = progress.add_task(
            f"{len(jobs)} cells", total=len(jobs), completed=finished_already, text=""
        )
        bars = {}
        try:
            while waiting or running:
                while waiting and len(running) < compute.workers:
                    job = waiting.pop(0)
                    process = context.Process(
                        target=_work, args=(job, compute.threads, messages), daemon=True
                    )
                    with _no_interrupts():  # half a start would leave a worker without a driver
                        process.start()
                        running[job.name] = process
                    bars[job.name] = progress.add_task(job.name, total=1.0, text="")
                try:
                    name, what, value = messages.get(timeout=0.5)
                except queue.Empty:
                    for name, process in list(running.items()):
                        if not process.is_alive() and messages.empty():
                            del running[name]
                            progress.remove_task(bars.pop(name))
                            failures[name] = f"process ended with exit code {process.exitcode}"
                    continue
                if what == "progress":
                    progress.update(bars[name], completed=value[0], text=value[1])
                    continue
                running.pop(name).join()
                if what == "failed":
                    failures[name] = value
                else:
                    finished(named[name])
                progress.remove_task(bars.pop(name))
                progress.advance(whole)
                if not console.is_terminal:
                    console.print(f"{name}: {what}")
        finally:
            for process in running.values():
                process.terminate()
                process.join()
    if failures:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in failures.items())
        kept = len(jobs) - len(failures)
        raise CellFailed(f"{len(failures)} of {len(jobs)} cells failed ({kept} kept).\n{reasons}")
