"""What a change of the protocol did to the order: two boards of the same blocks, side by side.

``python -m benchmarks.before_after BEFORE AFTER`` takes two ``leaderboard.csv`` and prints a
markdown table for each block: scores, places, and Kendall's rank correlation τ of the orders.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from scipy.stats import kendalltau

from metabench.reports.reproduction import read_board

BLOCK = ["source", "target", "ways", "shots", "metric"]


def side_by_side(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[str]:
    """A markdown table for each block that both boards have; only methods of both are ranked."""
    both = before.merge(after, on=[*BLOCK, "method"], suffixes=("_before", "_after"))
    for block, rows in both.groupby(BLOCK, sort=False):
        source, target, ways, shots, metric = map(str, block)
        places = rows[["mean_before", "mean_after"]].rank(ascending=metric != "accuracy")
        ranked = rows.assign(was=places["mean_before"], now=places["mean_after"]).sort_values("now")
        tau = kendalltau(ranked["was"], ranked["now"]).statistic
        yield f"**{source} → {target}, {ways}-way {shots}-shot** (τ of the orders: {tau:.2f})\n"
        yield "| method | family | before | after | change | place |"
        yield "| --- | --- | ---: | ---: | ---: | ---: |"
        for row in ranked.to_dict("records"):
            cells = [
                row["method"],
                row["family_after"],
                _score(row["mean_before"], row["half_before"], metric),
                _score(row["mean_after"], row["half_after"], metric),
                _score(row["mean_after"] - row["mean_before"], None, metric),
                f"{row['was']:g} → {row['now']:g}",
            ]
            yield f"| {' | '.join(cells)} |"
        yield ""


def _score(mean: float, half: float | None, metric: str) -> str:
    """Accuracy in per cent, with half of its interval; without one, a difference with its sign."""
    scale, digits = (100, ".1f") if metric == "accuracy" else (1, ".3g")
    if half is None:
        return format(scale * mean, f"+{digits}")
    return f"{scale * mean:{digits}} ± {scale * half:{digits}}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print("\n".join(side_by_side(*(read_board(Path(path)) for path in sys.argv[1:]))))
