"""How reports write scores, differences and verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.reports.statistics.board import needed


def amount(mean: float, half: float, metric: str) -> str:
    """``71.2 ± 0.8`` (per cent), or ``0.43 ± 0.02`` of squared error."""
    if metric == "accuracy":
        return f"{100 * mean:.1f} ± {100 * half:.1f}"
    return f"{mean:.3g} ± {half:.2g}"


def score(row: Any) -> str:
    """``71.2 ± 3.8``; over splits of the classes ``71.2 ± 3.8 (± 0.8)``, for these classes."""
    found = amount(row["mean"], row["half"], row["metric"])
    if row.get("splits", 1) == 1 or not np.isfinite(row["half_here"]):
        return found
    return f"{found} (± {amount(0, row['half_here'], row['metric']).split()[-1]})"


def points(size: float, metric: str) -> str | None:
    """``2.1 points``, or so much of an error; ``None`` where it is not known."""
    if not np.isfinite(size):
        return None
    return f"{100 * size:.1f} points" if metric == "accuracy" else f"{size:.2g}"


def number(value: float, metric: str) -> str:
    """``2.1`` points, or so much of an error."""
    return f"{100 * value:.1f}" if metric == "accuracy" else f"{value:.3g}"


def span(low: float, high: float, metric: str) -> str:
    """``0.3 to 2.1`` points, or of an error; nothing where nothing is known of other seeds."""
    if not np.isfinite([low, high]).all():
        return ""
    return f"{number(low, metric)} to {number(high, metric)}"


def stands(verdict: str, low: float, high: float, metric: str) -> str:
    """``behind by 2.1 to 4.0``: a verdict, and the interval of the difference to the best."""
    between = span(low, high, metric)
    if verdict == "best" or not between:
        return verdict
    return f"{verdict}{' by' if verdict == 'behind' else ':'} {between}"


def would_decide(row: Any) -> str:
    """``7 seeds``: the data that would decide an undecided row of the summary."""
    asked = row["seeds_needed"], row["episodes_needed"]
    if row.get("splits", 1) > 1:
        return needed(*asked, row["splits"], row["episodes"], "splits")
    return needed(*asked, row["seeds"], row["episodes"])
