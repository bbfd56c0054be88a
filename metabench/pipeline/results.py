"""What was measured, in files that stand by themselves: read, collected, reported, tracked.

Light: nothing here imports torch. The files are written by :mod:`metabench.pipeline.evaluating`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import pandas as pd

from metabench.config import Config, Level, setting_label
from metabench.files import DAMAGED, InputError, maker, read_json
from metabench.pipeline.digests import Digests
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Learner, Part

CONTRACT = [
    "source", "target", "partition", "method", "family", "examples_budget", "source_classes",
    "split", "seed", "ways", "shots", "queries",
    "steps", "selection", "episode", "episode_hash", "metric", "value", "nll", "brier",
    "bin_count", "bin_correct", "bin_confidence",
    "temperature", "raw_nll", "raw_bin_count", "raw_bin_correct", "raw_bin_confidence",
]  # fmt: skip
"""First columns of a result file, one row per (target, partition, setting, steps, episode).

``examples_budget`` and ``source_classes`` are the learner's level, 0 for one that spends nothing.
``split`` is that of the classes of source and target.
``partition`` is test, or val for the episodes by which champions are chosen: no board has these.
Likelihood and calibration are of logits divided by ``temperature``, which is fitted on the latter;
those of logits as they are begin with ``raw_``. ``selection`` is the rule that chose the adaptation
settings: ``VAL``, or another that ``evaluation.selection`` names.

Then come the numbers of the metrics that ``evaluation.metrics`` names.
"""
VAL = "val"
"""The rule of all comparisons: settings are those of ``params.yaml``, chosen on ``val``."""
LEVEL = ["examples_budget", "source_classes"]
"""Columns of results and records that say at which level a learner is."""
LISTED = 10
"""Cells that a message names."""


def arranged(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns of a result file in their order; what it lacks is empty."""
    return frame.reindex(columns=[*CONTRACT, *further(frame)])


def further(results: pd.DataFrame) -> list[str]:
    """Columns of the metrics that ``evaluation.metrics`` names."""
    return [name for name in results.columns if name not in CONTRACT]


def read_result(path: Any) -> pd.DataFrame:
    """Read one result file.

    Raises:
        InputError: missing, damaged, or without the contract's columns.
    """
    try:
        frame = pd.read_parquet(path)
    except DAMAGED as error:
        raise InputError(
            f"{path}: damaged or missing result ({error}). Delete it and run {maker()}."
        ) from error
    if list(frame.columns[: len(CONTRACT)]) != CONTRACT:
        raise InputError(f"{path}: columns are not those of a result. Delete it and run again.")
    return frame


def collect(
    config: Config, layout: Layout, part: Part = WHOLE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All test results and records that ``params.yaml`` asks for: listed from it, not by globbing.

    A record has ``val_scores``: by form of episode (``5w1s``) the mean score on the ``val``
    episodes by which champions are chosen, higher is better. A learner that spends nothing is there
    at every level.

    Args:
        part: only these.

    Raises:
        InputError: listing the cells that are missing, damaged, or of other params; nothing is
            averaged over what is there.
    """
    cells = list(part.learners(config))
    _check(config, layout, cells)
    results, records = [], []
    for source, method, level, seed in cells:
        path = layout.at(level).result(source, method, seed)
        frame = read_result(path)
        record = read_json(path.with_suffix(".json")) | {"val_scores": _val_scores(frame)}
        for shown in [level] if level else config.task_type_of(source).budget.levels:
            where = dict(zip(LEVEL, (shown.examples, shown.classes), strict=True))
            results.append(frame[frame["partition"] == "test"].assign(**where))
            records.append(record | where)
    return pd.concat(results, ignore_index=True), pd.DataFrame(records)


def of_level(found: pd.DataFrame, level: Level) -> pd.DataFrame:
    """The rows of results, scores or records at one level."""
    examples, classes = (found[name] for name in LEVEL)
    return found[(examples == level.examples) & (classes == level.classes)]


def _val_scores(frame: pd.DataFrame) -> dict[str, float]:
    val = frame[frame["partition"] == "val"]
    forms: Iterable[tuple[Any, pd.DataFrame]] = val.groupby(["ways", "shots"])
    return {
        setting_label(ways, shots): float(rows["value"].mean() * (1 if ways else -1))
        for (ways, shots), rows in forms
    }


def _check(config: Config, layout: Layout, cells: Sequence[Learner]) -> None:
    """Raise, naming the cells, unless each has the result that the params ask for."""
    from metabench.pipeline.evaluating import FAULTS, fault_of  # imports torch
    from metabench.pipeline.keys import Keys  # imports torch
    from metabench.pipeline.splits import in_split

    digests = Digests(layout.digests)
    keys = cache(lambda level, split: Keys(config.at(level), in_split(config, layout, split)))
    found: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    for source, method, level, seed in cells:
        path = layout.at(level).result(source, method, seed)
        fault = fault_of(
            path, keys(level, config.split_of(seed)).result(source, method, seed), digests
        )
        if fault is not None:
            where = [source, method, *([str(level)] if level else []), str(seed)]
            found[fault].append("/".join(where))
    digests.save()
    faults = [
        f"{len(names)} of {len(cells)} cells {fault}: {', '.join(names[:LISTED])}"
        + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        for fault, names in found.items()
        if names
    ]
    if faults:
        raise InputError("\n".join([*faults, f"Run {maker()}: what is finished is kept."]))
