"""The pool of warm workers: what stays from cell to cell, what must not, and what a crash costs."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from metabench.config import Compute
from metabench.files import InputError
from metabench.pipeline import local_engine
from metabench.pipeline.engine import Event, Job
from tests.pipeline.test_cells import silent
from tests.toy import TOY_NAME, params, prepared


def note(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({"process": os.getpid(), **values}))


def draw(report, path: Path) -> None:
    """From every global generator, unnamed: no method of ours does, a third party's may."""
    legacy = np.random.rand()  # noqa: NPY002
    values = [random.random(), legacy, torch.rand(1, dtype=torch.float64).item()]
    note(path, values=values, dtype=str(torch.zeros(1).dtype))


def untidy(report, path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    draw(report, path)


def fail(report, path: Path) -> None:
    note(path)
    raise InputError("bad input")


def die(report, path: Path) -> None:
    note(path)
    os.kill(os.getpid(), signal.SIGKILL)


def leave(report, path: Path) -> None:
    note(path)
    sys.exit(3)


def hold(report, path: Path, megabytes: int) -> None:
    held = torch.ones(megabytes, 2**20, dtype=torch.uint8)
    note(path, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, held=len(held))


def wait_for_ever(report, path: Path) -> None:
    note(path)
    report(0.5, "half")
    time.sleep(600)


def jobs_of(folder: Path, *functions: Any, **more: Any) -> list[Job]:
    """A job for each function, called 0, 1, 2 …, that writes the file of this name."""
    return [
        Job(str(i), f"{__name__}:{f.__name__}", {"path": folder / str(i), **more})
        for i, f in enumerate(functions)
    ]


def run(jobs: list[Job], workers: int = 1) -> dict[str, Event]:
    """The last event of each job."""
    return {e.job.name: e for e in local_engine.run(jobs, Compute(workers=workers))}


def noted(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.iterdir(), key=lambda path: int(path.name))
    return [json.loads(path.read_text()) for path in paths]


def test_a_worker_computes_one_cell_after_another_until_one_fails_or_leaves_it_changed(
    tmp_path,
) -> None:
    jobs = jobs_of(tmp_path, draw, draw, fail, draw, untidy, draw)
    ended = [event.what for event in run(jobs).values()]
    assert ended == ["done", "done", "failed", "done", "done", "done"]
    a, b, c, d, e, f = (found["process"] for found in noted(tmp_path))
    assert a == b == c and c != d and d == e and e != f


def test_no_cell_feels_another_whatever_the_order_and_the_number_of_workers(tmp_path) -> None:
    found = []
    for name, workers, functions in (
        ("one", 1, [draw, untidy, draw, draw]),
        ("three", 3, [draw, draw, untidy, draw]),
    ):
        (tmp_path / name).mkdir()
        run(jobs_of(tmp_path / name, *functions), workers)
        values = [{**n, "process": 0} for n in noted(tmp_path / name)]
        found.append(sorted(values, key=lambda value: value["dtype"]))
    assert found[0] == found[1]
    plain = [value for value in found[0] if value["dtype"] == "torch.float32"]
    assert len(plain) == 3 and all(value == plain[0] for value in plain)


@pytest.mark.parametrize(
    ("fatal", "reason"),
    [(die, "killed (signal 9): out of memory, perhaps"), (leave, "ended with exit code 3")],
)
def test_a_worker_that_dies_costs_its_cell_alone(tmp_path, fatal, reason) -> None:
    ended = run(jobs_of(tmp_path, draw, fatal, draw, draw), workers=2)
    assert [ended[str(i)].what for i in range(4)] == ["done", "failed", "done", "done"]
    assert reason in ended["1"].text


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each cell has a process of its own")
def test_the_peak_of_a_cell_is_its_own_in_a_worker_that_held_more_before(tmp_path) -> None:
    sizes = (1, 400, 1)
    jobs = [
        Job(str(i), f"{__name__}:hold", {"path": tmp_path / str(i), "megabytes": size})
        for i, size in enumerate(sizes)
    ]
    run(jobs)
    small, large, again = noted(tmp_path)
    assert small["process"] == large["process"] == again["process"]
    assert 380 < large["peak"] - small["peak"] < 420
    assert abs(again["peak"] - small["peak"]) < 20


def test_closing_the_events_ends_the_work_that_was_begun(tmp_path) -> None:
    events = local_engine.run(jobs_of(tmp_path, wait_for_ever, wait_for_ever), Compute(workers=2))
    while next(events).what != "progress":
        pass
    events.close()
    assert not any(psutil.pid_exists(found["process"]) for found in noted(tmp_path))


def test_ctrl_c_while_a_worker_starts_ends_that_worker_too(monkeypatch) -> None:
    ended = []

    class Starting:
        """Ctrl-C comes in the middle of its start."""

        def start(self) -> None:
            signal.raise_signal(signal.SIGINT)

        def terminate(self) -> None:
            ended.append(self)

        def join(self) -> None: ...

    context = SimpleNamespace(
        Pipe=lambda: (1, io.BytesIO()), Process=lambda **arguments: Starting()
    )
    monkeypatch.setattr(local_engine, "_server", lambda jobs: context)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(local_engine.run([Job("one", "tests.toy:none", {})], Compute(workers=1)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(ended) == 1


@pytest.mark.slow
def test_learners_and_results_are_the_same_bits_whatever_the_order_and_the_workers(
    tmp_path,
) -> None:
    from metabench.config import Config
    from metabench.pipeline.cells import pretrain_cell
    from metabench.pipeline.jobs import jobs_of as cells_of
    from metabench.pipeline.part import WHOLE
    from metabench.pipeline.pretrainings import Pretraining

    methods: dict[str, Any] = {
        "protonet": {"ways": 5, "queries": 3},
        "maml": {"steps": 1, "test_steps": 2},
        "linear_probe": {},
        "nearest_neighbour": {},
    }
    values = params(settings={TOY_NAME: methods}, seeds=[0, 1])
    values["classification"]["methods"] = list(methods)
    config, found = Config.model_validate(values), []
    for name, workers, turn in (("one", 1, 1), ("three", 3, -1)):
        layout = prepared(tmp_path / name, config)
        for seed in config.seeds:
            pretrain_cell(silent, config, layout, TOY_NAME, Pretraining(), seed)
        for step in ("train", "evaluate"):
            jobs = cells_of(step, WHOLE.learners(config), config, layout)
            assert {e.what for e in run(jobs[::turn], workers).values()} == {"done"}
        files = [*layout.root.glob("runs/**/*.safetensors"), *layout.root.glob("runs/**/*.csv")]
        files += layout.root.glob("results/**/*.parquet")
        assert len(files) == 3 * 4 * 2
        found.append({str(p.relative_to(layout.root)): p.read_bytes() for p in files})
    assert found[0] == found[1]
