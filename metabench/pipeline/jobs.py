"""The cells of a step as jobs: what each is called, what computes it, and whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from metabench.config import Config
from metabench.pipeline import estimates
from metabench.pipeline.engine import Job
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.splits import in_split


class Step(NamedTuple):
    """How the cells of one step are computed.

    Attributes:
        function: called as :class:`~metabench.pipeline.engine.Job` says, with config and layout.
        names: of what tells the step's cells apart: further arguments, the level, and the split.
        finished: whether a cell, by these arguments, need not be computed.
        seconds: how long one may take, by config, layout and these arguments.
    """

    function: str
    names: tuple[str, ...]
    finished: Callable[..., bool]
    seconds: Callable[..., float] = lambda *cell: 0.0


DATA = ("dataset", "split")
LEARNER = ("source", "method", "level", "seed")
STEPS = {
    "download": Step("metabench.pipeline.data_cells:prepare_cell", DATA, Finished.dataset),
    "freeze": Step("metabench.pipeline.data_cells:freeze_cell", DATA, Finished.episodes),
    "pretrain": Step(
        "metabench.pipeline.cells:pretrain_cell",
        ("source", "pretraining", "level", "seed"),
        Finished.backbone,
        estimates.of_pretraining,
    ),
    "train": Step(
        "metabench.pipeline.cells:train_cell", LEARNER, Finished.learner, estimates.of_training
    ),
    "evaluate": Step(
        "metabench.pipeline.evaluating:evaluate_cell",
        LEARNER,
        Finished.result,
        estimates.of_evaluation,
    ),
}


def jobs_of(
    step: str, cells: Iterable[tuple[Any, ...]], config: Config, layout: Layout
) -> list[Job]:
    """A job for each of ``cells``; no process is started for that.

    A job is called ``train glyphs/maml/20000-examples/0``. Its level decides of which budget the
    config tells, and of which folders the layout; so does the split of its data or seed.

    Args:
        step: one of ``STEPS``.
        cells: the values of the step's ``names``, a tuple a cell.
    """
    function, names, finished, seconds = STEPS[step]

    def job(cell: tuple[Any, ...], look: Finished) -> Job:
        own = dict(zip(names, cell, strict=True))
        level = own.pop("level", None)
        split = own.pop("split") if "split" in own else config.split_of(own["seed"])
        hidden = (None, 0) if names == DATA else (None,)
        name = "/".join(str(part) for part in cell if part not in hidden)
        shared = {"config": config.at(level), "layout": in_split(config, layout.at(level), split)}
        there = finished(look.at(level, split), *own.values())
        guess = 0.0 if there else seconds(*shared.values(), *own.values())
        return Job(f"{step} {name}", function, shared | own, there, guess)

    with Finished(config, layout) as look:
        return [job(cell, look) for cell in cells]
