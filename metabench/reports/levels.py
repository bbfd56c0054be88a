"""Boards of several budgets: a report begins with the main level of each source, then the others.

Methods are compared within a level, so no family of tests grows with the number of levels.
"""

from __future__ import annotations

import pandas as pd

from metabench.config import Level, main_level
from metabench.pipeline.results import LEVEL, of_level
from metabench.reports.scores import blocks_of
from metabench.reports.summary import summarise


def levels_in(found: pd.DataFrame) -> dict[str, list[Level]]:
    """By source its levels, the main one first; empty for boards that know of none."""
    if LEVEL[0] not in found:
        return {}
    levels: dict[str, list[Level]] = {}
    for source, rows in found[["source", *LEVEL]].drop_duplicates().groupby("source", sort=False):
        pairs = zip(rows[LEVEL[0]], rows[LEVEL[1]], strict=True)
        all_ = sorted(Level(int(examples), float(classes)) for examples, classes in pairs)
        main = main_level(all_)
        levels[str(source)] = [main, *(level for level in all_ if level != main)]
    return levels


def at_main(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of results, scores, records or a board at the main level of each source."""
    levels = levels_in(found)
    if not levels:
        return found
    parts = [of_level(found[found["source"] == name], own[0]) for name, own in levels.items()]
    return pd.concat(parts).sort_index()


def at_others(scores: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """As :func:`metabench.reports.summary.summarise`, of each other level by itself.

    Empty where there are none.
    """
    found = []
    for source, (_, *levels) in levels_in(costs).items():
        for level in levels:
            mine, records = (of_level(f[f["source"] == source], level) for f in (scores, costs))
            found.append(summarise(mine, records, blocks_of(mine, records)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def level_label(examples: float, classes: float) -> str:
    """``20,000 examples``, with the share of the classes where it is not all of them."""
    share = "" if classes == 1 else f", {100 * classes:g} % of the classes"
    return f"{examples:,.0f} examples{share}"
