"""Which cells run, in which order, and what is said of them; an engine that computes nothing."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from metabench.config import Compute
from metabench.pipeline.engine import Event, Job
from metabench.pipeline.executor import CellFailed, run_cells


def job(name: str, seconds: float = 0.0, finished: bool = False) -> Job:
    return Job(name, "nowhere:never", {}, finished, seconds)


class Pretending:
    """An engine in which jobs with ``bad`` in their name fail."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def __call__(self, jobs: Sequence[Job], compute: Compute) -> Generator[Event]:
        for each in jobs:
            self.began.append(each.name)
            yield Event(each, "begun")
            yield Event(each, "progress", 0.5, "half")
            yield Event(each, "failed" if "bad" in each.name else "done", text="bad input")


def test_the_longest_begin_first_and_equals_in_their_order_and_finished_ones_never() -> None:
    engine, kept = Pretending(), list[str]()
    jobs = [job("a", 1), job("b", 3), job("c", 9, finished=True), job("d", 1), job("e", 2)]
    run_cells(jobs, Compute(), lambda done: kept.append(done.name), engine)
    assert engine.began == kept == ["b", "e", "a", "d"]


def test_a_failing_cell_is_named_and_the_others_are_kept() -> None:
    kept: list[str] = []
    with pytest.raises(CellFailed, match=r"(?s)1 of 3 cells failed \(2 kept\).*bad: bad input"):
        run_cells(
            [job("good"), job("bad"), job("best")],
            Compute(),
            lambda done: kept.append(done.name),
            Pretending(),
        )
    assert kept == ["good", "best"]


def test_an_interrupt_ends_the_engine() -> None:
    closed: list[bool] = []

    def engine(jobs: Sequence[Job], compute: Compute) -> Generator[Event]:
        try:
            yield Event(jobs[0], "begun")
            yield Event(jobs[0], "done")
        finally:
            closed.append(True)

    def interrupt(done: Job) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells([job("one"), job("two")], Compute(), interrupt, engine)
    assert closed == [True]


def test_what_is_finished_already_is_counted_with_the_name_of_the_stage(capsys) -> None:
    jobs = [job(f"train toy/mine/{seed}", finished=True) for seed in (0, 1)]
    run_cells(jobs, Compute(workers=1))
    assert capsys.readouterr().err == "train: 2 of 2 cells are finished already\n"
