"""All that a report says of one block, from its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metabench.reports.statistics.comparisons import (
    MARGIN,
    RELATIVE_MARGIN,
    Comparison,
    against_best,
)
from metabench.reports.statistics.intervals import estimates, intervals
from metabench.reports.statistics.power import (
    MOST_EPISODES,
    MOST_SEEDS,
    data_to_decide,
    detectable,
)
from metabench.reports.statistics.tables import Block


@dataclass(frozen=True)
class Board:
    """The answers.

    Attributes:
        table: a row for each method, best first: ``mean``, ``half`` (its 95 % interval), ``behind``
            (difference to the best) with ``low`` and ``high`` (the intervals of all differences
            hold at once), ``verdict`` (best, tied, behind, undecided), and for the undecided
            ``seeds_needed`` and ``episodes_needed`` (inf: more than is worth asking for).
        margin: differences inside it are of no account.
        detectable: the difference to the best that is found 8 times in 10, on average.
        seeds: that there are; ``unit`` says if they are splits of the classes.
        episodes: in the smallest set of them.
    """

    table: pd.DataFrame
    margin: float
    detectable: float
    seeds: int
    episodes: int
    unit: str = "seeds"

    def row(self, method: str) -> dict[str, Any]:
        """What ``table`` says of ``method``."""
        return {str(name): value for name, value in self.table.loc[method].items()}

    def needed(self, method: str) -> str:
        """In words, what would decide an undecided comparison: ``7 seeds and 120 episodes``."""
        row = self.row(method)
        asked = row["seeds_needed"], row["episodes_needed"]
        return needed(*asked, self.seeds, self.episodes, self.unit)


def needed(
    seeds: float, episodes: float, has_seeds: int, has_episodes: int, unit: str = "seeds"
) -> str:
    """In words, the data that would decide, where ``has_seeds`` and ``has_episodes`` do not.

    ``unit``: what the numbers of seeds count, ``seeds`` or ``splits``.
    """
    if np.isinf(seeds) and has_seeds == 1:
        return "three seeds or more"
    if np.isinf(seeds):
        return f"more than {MOST_SEEDS} {unit} and {MOST_EPISODES * has_episodes} episodes"
    more = [f"{seeds:.0f} {unit}"] if seeds > has_seeds else []
    more += [f"{episodes:.0f} episodes"] if episodes > has_episodes else []
    return " and ".join(more)


def board(
    block: Block, among: Sequence[str] | None = None, relative: bool = False, families: int = 1
) -> Board:
    """Means, intervals and verdicts of a block.

    Args:
        block: scores, higher is better.
        among: the methods that are compared with one another; all by default. The others only help
            to tell how much seeds matter.
        relative: the margin is 5 % of the best mean (of an error), not one point.
        families: how many boards are read together.
    """
    methods = tuple(block.methods if among is None else among)
    rows = [block.methods.index(m) for m in methods]
    found, widths = estimates(block.moments()).only(rows), intervals(block)
    margin = RELATIVE_MARGIN * abs(float(found.mean.max())) if relative else MARGIN
    compared = against_best(found, margin, families)
    seeds = block.only(methods).units
    need, times = data_to_decide(compared, seeds, margin)
    luck = compared.difference.seeds.moderated.variance
    need = np.where((luck == 0) & np.isfinite(need), seeds, need)  # seeds decide nothing there
    episodes = min(scores.shape[2] for scores in block.sets)
    undecided = compared.words == "undecided"
    table = pd.DataFrame(
        {
            "mean": found.mean,
            "half": [widths[m][1] for m in methods],
            "behind": compared.difference.mean,
            "low": compared.low,
            "high": compared.high,
            "verdict": compared.words,
            "seeds_needed": np.where(undecided, need, np.nan),
            "episodes_needed": np.where(undecided, times * episodes, np.nan),
        },
        index=pd.Index(methods, name="method"),
    )
    order = table["mean"].sort_values(ascending=False, kind="stable").index
    unit = "splits" if block.split_anew else "seeds"
    return Board(table.loc[order], margin, float(detectable(compared)), seeds, episodes, unit)


def recommended(found: Board, cost: Mapping[str, float]) -> str:
    """The method to use: the cheapest of the best and those that are tied with it.

    Args:
        found: of the candidates.
        cost: of each method, such as milliseconds to adapt.
    """
    verdict = found.table["verdict"]
    candidates = [str(m) for m in verdict.index[verdict.isin(["best", "tied"])]]
    return min(candidates, key=lambda method: cost[method])


def recommend(compared: Comparison, cost: np.ndarray) -> np.ndarray:
    """``[...]``: as :func:`recommended`, for many blocks.

    A tie is a bound on the loss: with confidence it is less than the margin.

    Args:
        compared: of methods ``[..., n]``.
        cost: ``[n]``, such as milliseconds to adapt.
    """
    return np.where(compared.tied, cost, np.inf).argmin(-1)
