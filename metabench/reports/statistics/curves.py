"""What is read off curves: calibration by confidence, and how many labels a method needs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def calibration(frame: pd.DataFrame, of: str = "bin") -> tuple[float, pd.DataFrame]:
    """Expected calibration error and the reliability table from the sums by bin.

    ``ECE = Σ_b (n_b/n) |accuracy_b − confidence_b|`` (Guo et al. 2017, eq. 3).

    Args:
        frame: with the columns ``<of>_count``, ``<of>_correct``, ``<of>_confidence``.
    """
    sums = {
        name: np.sum(np.stack([np.asarray(v, float) for v in frame[f"{of}_{name}"]]), axis=0)
        for name in ("count", "correct", "confidence")
    }
    table = pd.DataFrame(sums)
    filled = table[table["count"] > 0]
    gap = (filled["correct"] - filled["confidence"]).abs().sum() / filled["count"].sum()
    return float(gap), table.assign(
        accuracy=table["correct"] / table["count"].where(table["count"] > 0),
        mean_confidence=table["confidence"] / table["count"].where(table["count"] > 0),
    )


def shot_weights(shots: Sequence[int]) -> np.ndarray:
    """Weights of the scores at ``shots`` (ascending) in the area under their curve.

    The area is the mean over log₂(shots) by the trapezoid rule: label need in one number.
    """
    if len(shots) == 1:
        return np.ones(1)
    widths = np.diff(np.log2(shots))
    return (np.append(widths, 0) + np.append(0, widths)) / (2 * widths.sum())


def shots_to_reach(means: Mapping[int, float], level: float) -> float | None:
    """Shots at which accuracy first reaches ``level``, by interpolation on log₂(shots).

    ``None`` if it does not within the measured range.
    """
    shots = sorted(means)
    if means[shots[0]] >= level:
        return float(shots[0])
    for a, b in itertools.pairwise(shots):
        if means[a] < level <= means[b]:
            share = (level - means[a]) / (means[b] - means[a])
            return float(2 ** (np.log2(a) + share * (np.log2(b) - np.log2(a))))
    return None
