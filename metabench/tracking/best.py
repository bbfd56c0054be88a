"""Which learner of a source is the best, and how it goes into service."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from metabench.config import Config
from metabench.methods import METHODS
from metabench.pipeline.cells import trusted_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from metabench.pipeline.pretrainings import spends
from metabench.pipeline.results import of_level
from metabench.tracking.models import log_best
from metabench.tracking.runs import log_report

PATIENCE_MS = 500.0
"""How long whoever asks a service may have to wait for an adaptation."""
SERVED = ("classification", "text")
"""The task types of images and texts, whose best learners go into service."""


def best_on_val(
    config: Config, layout: Layout, records: pd.DataFrame, source: str
) -> tuple[Path, float] | None:
    """Folder and validation accuracy of the best learner of ``source``.

    Test episodes have no say, and neither have those ``val`` episodes on which training chose
    weights: whoever validated more often would have had more luck. The method with the best mean
    over seeds is taken (of several budgets at the main level), and of its seeds the best. What a
    service cannot use is left out: transductive methods, whose answer depends on what else was
    asked, those with a fixed number of classes, and learners that were measured to take longer than
    :data:`PATIENCE_MS` to adapt to a task.

    Args:
        records: of all cells, as :func:`metabench.pipeline.results.collect` gives them.

    Returns:
        None when no method of ``source`` can be served.
    """
    task_type = config.task_type_of(source)
    main = task_type.budget.level
    cells = of_level(records[records["source"] == source], main)
    cells = cells.assign(val=[pd.Series(scores).mean() for scores in cells["val_scores"]])
    classes = [METHODS.load(task_type.variant(name).method) for name in cells["method"]]
    servable = np.array([cls.variable_ways and not cls.transductive for cls in classes])
    fastest = cells.groupby("method")["adapt_ms"].transform("min")
    cells = cells[servable & (fastest <= PATIENCE_MS)].dropna(subset="val")
    if cells.empty:
        return None
    winner = cells.groupby("method", sort=False)["val"].mean().idxmax()
    best = cells[cells["method"] == winner].sort_values("val", kind="stable").iloc[-1]
    at = layout.at(main if spends(config, source, str(winner)) else None)
    return at.learner(source, str(winner), int(best["seed"])), float(best["val"])


def publish(config: Config, layout: Layout, records: pd.DataFrame, git_commit: str) -> None:
    """Log the report and the best learner of each source of images or texts; never raises."""
    log_report(layout.root / config.reports, config.profile, git_commit)
    served = [config.task_types[label] for label in SERVED if label in config.task_types]
    for source in (source for task_type in served for source in task_type.sources):
        try:
            found = best_on_val(config, layout, records, source)
            if found is not None:
                folder, val = found
                name = folder.relative_to(layout.root / "runs" / source).parts[0]
                trust = trusted_of(config.task_type_of(source), name)
                _, cell = load_learner(folder, trust)
                log_best(folder, cell, val, config.profile)
        except Exception as error:  # a report must not fail for want of a model
            warnings.warn(f"best learner of {source} not logged ({type(error).__name__}: {error})")
