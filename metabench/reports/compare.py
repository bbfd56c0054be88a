"""Two methods, block by block, by the paired test on identical episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from metabench.files import InputError
from metabench.reports.guide import amount, p_text
from metabench.reports.statistics.crossed import holm, interval, paired
from metabench.reports.summary import (
    BLOCK,
    LEVEL,
    check_comparable,
    score_tables,
    setting_label,
    sign_of,
)


def comparisons(
    results: pd.DataFrame, first: str, second: str, wanted: Mapping[str, Any]
) -> list[tuple[str, ...]]:
    """One row for each block that both have: setting, both scores, difference, p, verdict.

    Args:
        wanted: values of columns of a block that the rows must have.

    Raises:
        InputError: the two share no such block.
    """
    check_comparable(results)
    metrics = results.groupby(BLOCK)["metric"].first()
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
    found = {b: paired([tables[b, first]], [tables[b, second]]) for b in blocks}
    corrected = holm({str(b): d.p for b, d in found.items()})
    rows: list[tuple[str, ...]] = []
    for block, difference in found.items():
        source, target, ways, shots = block
        metric = metrics[block]
        p, gap = corrected[str(block)], difference.interval
        ahead = first if gap.mean * sign_of(metric) > 0 else second
        one, two = (interval(tables[block, m]) for m in (first, second))
        rows.append(
            (
                f"{source} → {target}",
                setting_label(ways, shots),
                amount(one.mean, one.half, metric),
                amount(two.mean, two.half, metric),
                amount(gap.mean, gap.half, metric),
                p_text(p),
                f"{ahead} is better" if p <= LEVEL else "no significant difference",
            )
        )
    return rows
