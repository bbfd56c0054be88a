"""Average ranks over independent units (Demšar 2006, JMLR 7:1-30).

Blocks that share learners or episodes are not independent: over such blocks Friedman's test finds
differences 69 to 99 times in 100 where there are none. A unit is one (source, split, seed): its
learners are its own, and so are its episodes, as each seed is scored on its own share of them. All
targets and settings of a unit are averaged as ranks, and count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from metabench.reports.statistics.tables import Block

ENOUGH = 10
"""Units from which on there is a critical difference; with fewer it is no more than a guess."""


@dataclass(frozen=True)
class Ranking:
    """Average ranks (1 is best) over ``units``.

    Attributes:
        ranks: by method, best first.
        units: how many.
        critical_difference: ranks that differ by less cannot be told apart (Nemenyi, 0.05); None
            with fewer than ``ENOUGH`` units or three methods.
    """

    ranks: pd.Series
    units: int
    critical_difference: float | None


def unit_ranks(blocks: Sequence[Block]) -> pd.DataFrame:
    """Ranks in each seed of one source and split: rows seeds, columns methods.

    Args:
        blocks: of one source and split: its targets and settings. Methods that lack a block or a
            seed are left out.
    """
    methods = [m for m in blocks[0].methods if all(m in b.methods for b in blocks)]
    found = []
    for block in blocks:
        rows = [block.methods.index(m) for m in methods]
        found.append(pd.DataFrame(_own_share(block)[rows].T, columns=methods))
    complete = [m for m in methods if all(f[m].notna().all() for f in found)]
    ranks = [f[complete].rank(axis=1, ascending=False) for f in found]
    return pd.DataFrame(sum(ranks[1:], ranks[0]) / len(ranks))


def _own_share(block: Block) -> np.ndarray:
    """``[k, seeds]``: each seed's mean over every S-th episode, so that no two share one."""
    seeds = block.present.shape[1]
    once = block.present.sum(1) == 1  # one learner for all seeds
    total = np.zeros((len(block.methods), seeds))
    for weight, scores in zip(block.weights, block.sets, strict=True):
        filled = np.where(once[:, None, None], np.nanmax(scores, 1, keepdims=True), scores)
        for seed in range(seeds):
            total[:, seed] += weight * filled[:, seed, seed::seeds].mean(1)
    return total


def ranking(units: pd.DataFrame) -> Ranking:
    """Average ranks over units (rows) of methods (columns), and what difference is critical.

    Raises:
        ValueError: a unit lacks a method.
    """
    if units.isna().to_numpy().any():
        raise ValueError("every unit must rank every method")
    n, k = units.shape
    ranks = units.mean().sort_values(kind="stable")
    if n < ENOUGH or k < 3:
        return Ranking(ranks, n, None)
    quantile = stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2)
    return Ranking(ranks, n, float(quantile * np.sqrt(k * (k + 1) / (6 * n))))
