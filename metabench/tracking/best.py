"""Which learner of a source is the best, and how it goes into service."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import pandas as pd
from pydantic import BaseModel

from metabench.config import Config
from metabench.files import InputError, read_record, write_json
from metabench.methods import METHODS
from metabench.pipeline.cells import trusted_of, validator
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import Cell, load_learner
from metabench.runtime import pick_device
from metabench.tracking.models import log_best
from metabench.tracking.runs import log_report

PATIENCE_MS = 500.0
"""How long whoever asks a service may have to wait for an adaptation."""
SERVED = ("classification", "text")
"""The task types of images and texts, whose best learners go into service."""


class Score(BaseModel):
    """What is kept of a learner that did not train: its accuracy on ``val`` episodes."""

    val: float


class Timing(BaseModel):
    """Of a result's record: how long the learner takes to adapt."""

    adapt_ms: float


def best_on_val(config: Config, layout: Layout, source: str) -> tuple[Path, float] | None:
    """Folder and validation accuracy of the best learner of ``source``.

    Test episodes have no say. The method with the best mean over seeds is taken, and of its seeds
    the best. Learners that did not train have no recorded score and are scored here, once, on the
    same ``val`` episodes. What a service cannot use is left out: transductive methods, whose answer
    depends on what else was asked, those with a fixed number of classes, and learners that were
    measured to take longer than :data:`PATIENCE_MS` to adapt to a task.

    Returns:
        None when no method of ``source`` can be served.
    """
    device, task_type = pick_device(config.compute.device), config.task_type_of(source)
    rows = []
    for method in task_type.methods:
        cls = METHODS.load(task_type.variant(method).method)
        if cls.transductive or not cls.variable_ways:
            continue
        seeds = config.seeds_of(source, method)
        records = [layout.result(source, method, seed).with_suffix(".json") for seed in seeds]
        if not seeds or min(read_record(path, Timing).adapt_ms for path in records) > PATIENCE_MS:
            continue
        for seed in seeds:
            folder = layout.learner(source, method, seed)
            cell = Cell.read(folder)
            val, kept = cell.val, layout.root / "data/val" / f"{cell.key}.json"
            if val is None:
                with suppress(InputError):  # not scored yet, or the score is damaged
                    val = read_record(kept, Score).val
            if val is None:
                score = validator(config, layout, source, device, task_type.backbone_of(method))
                val = score(load_learner(folder, trusted_of(task_type, method))[0].to(device))
                write_json(kept, {"val": val})
            rows.append({"method": method, "folder": folder, "val": val})
    if not rows:
        return None
    scores = pd.DataFrame(rows)
    winner = scores.groupby("method", sort=False)["val"].mean().idxmax()
    best = scores[scores["method"] == winner].sort_values("val", kind="stable").iloc[-1]
    return best["folder"], float(best["val"])


def publish(config: Config, layout: Layout, git_commit: str) -> None:
    """Log the report and the best learner of each source of images or texts; never raises."""
    log_report(layout.root / config.reports, config.profile, git_commit)
    served = [config.task_types[label] for label in SERVED if label in config.task_types]
    for source in (source for task_type in served for source in task_type.sources):
        try:
            found = best_on_val(config, layout, source)
            if found is not None:
                folder, val = found
                trust = trusted_of(config.task_type_of(source), folder.parent.name)
                _, cell = load_learner(folder, trust)
                log_best(folder, cell, val, config.profile)
        except Exception as error:  # a report must not fail for want of a model
            warnings.warn(f"best learner of {source} not logged ({type(error).__name__}: {error})")
