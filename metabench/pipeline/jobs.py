"""The cells of a step as jobs: what each is called, what computes it, and whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from metabench.config import Config
from metabench.pipeline.executor import Job
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout


class Step(NamedTuple):
    """How the cells of one step are computed.

    Attributes:
        function: called as :class:`~metabench.pipeline.executor.Job` says, with config and layout.
        names: of its further arguments, which tell the step's cells apart.
        finished: whether a cell, by these arguments, need not be computed.
    """

    function: str
    names: tuple[str, ...]
    finished: Callable[..., bool]


LEARNER = ("source", "method", "seed")
STEPS = {
    "download": Step("metabench.pipeline.data_cells:prepare_cell", ("dataset",), Finished.dataset),
    "freeze": Step("metabench.pipeline.data_cells:freeze_cell", ("dataset",), Finished.episodes),
    "pretrain": Step(
        "metabench.pipeline.cells:pretrain_cell",
        ("source", "pretraining", "seed"),
        Finished.backbone,
    ),
    "train": Step("metabench.pipeline.cells:train_cell", LEARNER, Finished.learner),
    "evaluate": Step("metabench.pipeline.evaluating:evaluate_cell", LEARNER, Finished.result),
}


def jobs_of(
    step: str, cells: Iterable[tuple[Any, ...]], config: Config, layout: Layout
) -> list[Job]:
    """A job for each of ``cells``, as ``train glyphs/maml/0``; no process is started for that.

    Args:
        step: one of ``STEPS``.
        cells: the step's further arguments, a tuple a cell.
    """
    function, names, finished = STEPS[step]
    with Finished(config, layout) as look:
        return [
            Job(
                f"{step} {'/'.join(map(str, cell))}",
                function,
                {"config": config, "layout": layout} | dict(zip(names, cell, strict=True)),
                finished(look, *cell),
            )
            for cell in cells
        ]
