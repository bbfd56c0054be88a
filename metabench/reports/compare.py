"""Two methods, block by block, on identical episodes: tied, one behind, or undecided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from metabench.files import InputError
from metabench.reports.guide import amount
from metabench.reports.statistics.board import Board, board
from metabench.reports.statistics.crossed import interval
from metabench.reports.statistics.tables import block_of
from metabench.reports.summary import (
    BLOCK,
    check_comparable,
    score_tables,
    setting_label,
    shared_learners,
    sign_of,
)


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
    check_comparable(results)
    main = dict(iter(results[results["steps"] == -1].groupby(BLOCK)))
    tables = score_tables(results)
    blocks = [
        block
        for block, method in tables
        if method == first
        and (block, second) in tables
        and all(dict(zip(BLOCK, block, strict=True))[k] == v for k, v in wanted.items())
    ]
    if first == second or not blocks:
        which = ", ".join(f"{k} {v}" for k, v in wanted.items()) or "params.yaml"
        raise InputError(f"{first} and {second}: no two results to compare in {which}")
    rows: list[tuple[str, ...]] = []
    for block in blocks:
        source, target, ways, shots = block
        metric = main[block]["metric"].iloc[0]
        pair = main[block][main[block]["method"].isin([first, second])]
        signed = pair.assign(value=sign_of(metric) * pair["value"])
        scores = block_of(signed, shared=shared_learners(costs[costs["source"] == source]))
        found = board(scores, relative=metric != "accuracy", families=len(blocks))
        one, two = (interval(tables[block, m]) for m in (first, second))
        rows.append(
            (
                f"{source} → {target}",
                setting_label(ways, shots),
                amount(one.mean, one.half, metric),
                amount(two.mean, two.half, metric),
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
    shown = [
        f"{100 * value:.1f}" if metric == "accuracy" else f"{value:.3g}"
        for value in (sign * float(other["behind"]), *ends)
    ]
    return "{} ({} to {})".format(*shown) if np.isfinite(ends).all() else shown[0]


def _verdict(found: Board) -> str:
    method, word = str(found.table.index[1]), found.table["verdict"].iloc[1]
    if word == "undecided":
        return f"undecided ({found.needed(method)} would decide)"
    return f"{method} is behind" if word == "behind" else str(word)
