"""The board as ``dvc metrics``, ``dvc plots`` and ``dvc exp show`` read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from metabench.config import setting_label
from metabench.files import atomic, write_json


def write_metrics(summary: pd.DataFrame, path: Path) -> None:
    """Mean scores as JSON by source, target, setting and method.

    A difference of two revisions then has a line for each method on each block, such as
    ``glyphs.digits.5w1s.maml``.
    """
    found: dict[str, Any] = {}
    for _, row in _as_predicted(summary).iterrows():
        setting = setting_label(row["ways"], row["shots"])
        targets = found.setdefault(row["source"], {})
        scores = targets.setdefault(row["target"], {}).setdefault(setting, {})
        scores[row["method"]] = round(row["mean"], 4)
    write_json(path, found)


def write_shots(summary: pd.DataFrame, path: Path) -> None:
    """Scores with their intervals by shots, as CSV: a curve for each method in each ``block``."""
    rows = _as_predicted(summary)
    ways = rows["ways"].map(lambda n: f", {n}-way" if n else "")
    named = rows.assign(block=rows["source"] + " → " + rows["target"] + ways, score=rows["mean"])
    columns = ["block", "method", "shots", "metric", "score", "low", "high"]
    with atomic(path) as temporary:
        named[columns].to_csv(temporary, index=False, float_format="%.4f")


def _as_predicted(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of learners as they predict, without those after fewer gradient steps."""
    return summary[summary["steps"] == -1]
