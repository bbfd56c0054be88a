"""Cells in processes of this machine: warm workers, each of which computes one after another.

What a worker has imported and looked up is there for its next cell. What must not be is seen to
between two cells by :func:`metabench.runtime.renew`; a worker that cannot be as new, or whose cell
failed, is replaced. So is one that dies, and its cell alone has failed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing as mp
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.forkserver import ensure_running
from typing import Any

from metabench.config import Compute
from metabench.files import InputError
from metabench.pipeline.engine import Event, Job


def run(jobs: Sequence[Job], compute: Compute) -> Generator[Event]:
    """Compute ``jobs``: an :data:`~metabench.pipeline.engine.Engine`."""
    context, waiting = _server(jobs), deque(jobs)
    workers: dict[Any, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < compute.workers:
                with _no_interrupts():  # half a start would leave a worker without a driver
                    worker = _Worker(context, compute.threads)
                    workers[worker.connection] = worker
                yield worker.begin(waiting.popleft())
            for connection in wait(list(workers)):
                worker = workers[connection]
                yield (event := worker.event())
                if event.what == "progress":
                    continue
                if worker.as_new and waiting:
                    yield worker.begin(waiting.popleft())
                else:
                    workers.pop(connection).end()
    finally:
        for worker in workers.values():
            worker.kill()


class _Worker:
    """A process, and the driver's end of its pipe.

    The pipe is its own: in a shared queue, one who is killed while it writes would silence all.
    """

    def __init__(self, context: Any, threads: int):
        self.connection, end = context.Pipe()
        self.as_new = False
        self._process = context.Process(target=_serve, args=(end, threads), daemon=True)
        self._process.start()
        end.close()  # the worker has the only one: with it the pipe ends

    def begin(self, job: Job) -> Event:
        """Give it a job."""
        self._job = job
        with contextlib.suppress(OSError):  # it has just died: the next event says so
            self.connection.send(job)
        return Event(job, "begun")

    def event(self) -> Event:
        """What it says next, or that it has died."""
        try:
            what, share, text, self.as_new = self.connection.recv()
        except (EOFError, OSError):
            self.as_new = False
            return Event(self._job, "failed", text=self._death())
        return Event(self._job, what, share, text)

    def _death(self) -> str:
        self._process.join()
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return (
                "its process was killed (signal 9): out of memory, perhaps. Set fewer "
                "compute.workers, or run again: what is finished is kept."
            )
        return f"its process ended with exit code {code}"

    def end(self) -> None:
        """Let it go: where the pipe ends, it does."""
        self.connection.close()
        self._process.join()

    def kill(self) -> None:
        """End it in the middle of its work."""
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, threads: int) -> None:
    """Compute what comes through the pipe, until it ends."""
    # Ctrl-C reaches the whole terminal group; the driver alone answers it, and ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    from metabench.runtime import configure, renew, switches

    configure(threads)
    before = switches()
    renew()
    gc.freeze()  # what is imported stays: it need not be looked at after each cell
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        reason = _failure(job, connection)
        if reason is None:
            as_new = renew() and switches() == before
            connection.send(("done", 1.0, "", as_new))
        else:
            connection.send(("failed", 0.0, reason, False))


def _failure(job: Job, connection: Connection) -> str | None:
    """Compute a job; why it failed, if it did."""
    try:
        module, name = job.function.split(":")
        getattr(importlib.import_module(module), name)(
            report=lambda share, text: connection.send(("progress", share, text, False)),
            **job.arguments,
        )
    except InputError as error:
        return str(error)
    except Exception as error:
        detail = "" if isinstance(error, RuntimeError | OSError) else traceback.format_exc()
        return f"{type(error).__name__}: {error}\n{detail}".strip()
    return None


def _die_with_parent() -> None:
    """End this process when the driver is gone, however it went."""
    parent = mp.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back; processes started meanwhile inherit the mask and never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _server(jobs: Sequence[Job]) -> Any:
    """Start the server that forks the workers; it imports what ``jobs`` need while we go on."""
    context = mp.get_context("forkserver")
    needed = sorted({job.function.split(":")[0] for job in jobs})
    context.set_forkserver_preload(["metabench.pipeline.pinned", *needed])
    resource_tracker.ensure_running()  # lifts the mask if it is started later
    with _no_interrupts():
        ensure_running()
    return context
