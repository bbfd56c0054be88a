"""Two methods, block by block, on identical episodes: tied, one behind, or undecided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from metabench.files import InputError
from metabench.reports.scores import (
    BLOCK,
    block_of_scores,
    condense,
    shared_learners,
    sign_of,
)
from metabench.reports.statistics.board import Board, board
from metabench.reports.summary import setting_label
from metabench.reports.words import amount, number, span


def comparisons(
    results: pd.DataFrame, costs: pd.DataFrame, first: str, second: str, wanted: Mapping[str, Any]
) -> list[tuple[str, ...]]:
    """One row for each block that both have: setting, both scores, difference, verdict.

    The difference is first − second, from the lower to the upper end of its 95 % interval; those
    of all rows hold at once, and the verdicts with them.

    Args:
        costs: of the cells, which tell what learners are shared.
        wanted: values of columns of a block that the rows must have.

    Raises:
        InputError: the two share no such block.
    """
    scores = condense(results[results["steps"] == -1])
    both = scores[scores["method"].isin([first, second])]
    pairs: Iterable[tuple[Any, pd.DataFrame]] = both.groupby(BLOCK, sort=False)
    blocks = {
        key: rows
        for key, rows in pairs
        if rows["method"].nunique() == 2
        and all(dict(zip(BLOCK, key, strict=True))[k] == v for k, v in wanted.items())
    }
    if first == second or not blocks:
        which = ", ".join(f"{k} {v}" for k, v in wanted.items()) or "params.yaml"
        raise InputError(f"{first} and {second}: no two results to compare in {which}")
    rows: list[tuple[str, ...]] = []
    for key in sorted(blocks, key=lambda key: (key[0], key[0] != key[1], key)):
        (source, target, ways, shots), pair = key, blocks[key]
        metric = pair["metric"].iloc[0]
        shared = shared_learners(costs[costs["source"] == source])
        found = board(
            block_of_scores(pair, shared), relative=metric != "accuracy", families=len(blocks)
        )
        one, two = found.table.to_dict("index")[first], found.table.to_dict("index")[second]
        rows.append(
            (
                f"{source} → {target}",
                setting_label(ways, shots),
                amount(abs(one["mean"]), one["half"], metric),
                amount(abs(two["mean"]), two["half"], metric),
                _difference(found, first, metric),
                _verdict(found),
            )
        )
    return rows


def _difference(found: Board, first: str, metric: str) -> str:
    """``1.2 (0.3 to 2.1)`` points, or errors; ``1.2`` if nothing is known of other seeds."""
    other = found.table.iloc[1]
    sign = sign_of(metric) * (1 if found.table.index[0] == first else -1)
    ends = sorted(sign * float(other[name]) for name in ("low", "high"))
    size, low, high = np.add([sign * float(other["behind"]), *ends], 0.0)  # not −0
    between = span(low, high, metric)
    return f"{number(size, metric)} ({between})" if between else number(size, metric)


def _verdict(found: Board) -> str:
    method, word = str(found.table.index[1]), found.table["verdict"].iloc[1]
    if word == "undecided":
        return f"undecided ({found.needed(method)} would decide)"
    return f"{method} is behind" if word == "behind" else str(word)
