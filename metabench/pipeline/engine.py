"""What stands between who wants cells and where they are computed: jobs go in, events come out.

:func:`~metabench.pipeline.executor.run_cells` decides what is computed and in which order, and
tells the user; an engine computes the jobs, wherever that is, and knows nothing else of them. There
is one today, :func:`metabench.pipeline.local_engine.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from metabench.config import Compute


@dataclass(frozen=True)
class Job:
    """One cell to compute: ``function(report=..., **arguments)`` in another process.

    The function is named, ``package.module:function``, so that the driver need not import it, nor
    torch with it.

    Attributes:
        finished: it is counted, and not run.
        seconds: how long it may take; the longest begin first.
    """

    name: str
    function: str
    arguments: dict[str, Any]
    finished: bool = False
    seconds: float = 0.0


class Event(NamedTuple):
    """What an engine says of a job: it begins, goes on, and is done or failed.

    Attributes:
        share: done of it, 0 to 1.
        text: on progress its own words, on failure the reason.
    """

    job: Job
    what: Literal["begun", "progress", "done", "failed"]
    share: float = 0.0
    text: str = ""


Engine = Callable[[Sequence[Job], Compute], Generator[Event]]
"""Begins the jobs in their order, ``workers`` side by side, until each is done or failed.

A job that fails, in whatever way, takes no other with it. Closing the generator ends all work.
"""
