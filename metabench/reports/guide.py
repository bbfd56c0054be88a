"""The decision guide: which family and method for so many shots, so far a domain, so much compute.

Evidence is pooled over all sources and targets of one kind of domain; comparisons are on identical
episodes, intervals are over seeds and episodes, verdicts allow for all that was compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metabench.reports.camps import Validation, compare_camps, form_for, in_words
from metabench.reports.scores import BLOCK, ORACLE, Blocks
from metabench.reports.statistics.board import Board, board, recommended
from metabench.reports.statistics.intervals import intervals
from metabench.reports.statistics.tables import Block
from metabench.reports.summary import setting_label, without_seen
from metabench.reports.words import amount, points, span

SHOWN = 5
"""Methods that a cell names."""


def guide(
    summary: pd.DataFrame, blocks: Blocks, validation: Mapping[str, Validation]
) -> list[dict[str, Any]]:
    """One entry for each (ways, domain, shots), fewest shots first.

    Controls and transductive methods are no candidates: a control is a yardstick, and a
    transductive method needs many queries at once. Where a control is ahead, the entry says so;
    the oracle, which knows what is to be learned, apart. Blocks in which a backbone may have
    learned the classes before are context, and no evidence.
    """
    main = without_seen(summary)
    main = main[(main["steps"] == -1) & ~main["transductive"].astype(bool)]
    main = main[main["method"] != ORACLE]
    return [
        _situation(rows, blocks, validation)
        for _, rows in main.groupby(["ways", "cross", "shots"])
        if rows.loc[rows["family"] != "control", "method"].nunique() > 1
    ]


def pool(rows: pd.DataFrame, blocks: Blocks) -> Block:
    """The scores of all methods of ``rows``: a set of episodes a target, averaged over sources.

    Methods that lack a block are left out.
    """
    keys = sorted(set(rows[BLOCK].itertuples(index=False, name=None)))
    methods = set(rows["method"]).intersection(*(set(blocks[key].methods) for key in keys))
    alike = {key: blocks[key].only(methods) for key in keys}
    by_target = {key[1]: [alike[k].sets[0] for k in keys if k[1] == key[1]] for key in keys}
    return replace(
        alike[keys[0]],
        sets=tuple(np.mean(found, axis=0) for found in by_target.values()),
        weights=tuple(len(found) / len(keys) for found in by_target.values()),
    )


def _situation(
    rows: pd.DataFrame, blocks: Blocks, validation: Mapping[str, Validation]
) -> dict[str, Any]:
    first, whole = rows.iloc[0], pool(rows, blocks)
    facts = rows.groupby("method").agg(
        family=("family", "first"), camp=("camp", "first"), train=("train_seconds", "mean"),
        adapt=("adapt_ms", "mean"), adapts=("adapts", "first"),
        source_training=("source_training", "first"),
    ).loc[list(whole.methods)]  # fmt: skip
    candidates = facts[facts["family"] != "control"]
    limits = {
        "none": candidates,
        "the backbone is not adapted to each task": candidates[candidates["adapts"] == "head"],
        "no training beyond the shared pretraining": candidates[
            candidates["source_training"] == "none"
        ],
    }
    among = board(whole, list(candidates.index), first["metric"] != "accuracy")
    targets = sorted(set(rows["target"]))
    return {
        "setting": setting_label(first["ways"], first["shots"]),
        "domain": "cross-domain" if first["cross"] else "in-domain",
        "blocks": sorted(set(rows["source"] + " → " + rows["target"])),
        "domains": len(targets),
        "metric": first["metric"],
        "seeds": int(rows["seeds"].min()),
        "detectable": points(among.detectable, first["metric"]),
        "choices": [
            _choice(name, whole, allowed, first["metric"])
            for name, allowed in limits.items()
            if len(allowed)
        ],
        "control": _control_ahead(whole, set(candidates.index), first["metric"]),
        "guessing": _guessing(whole, among, first["ways"]),
        "camps": _camps(rows, whole, candidates["camp"], validation),
    }  # fmt: skip


def _choice(limit: str, block: Block, allowed: pd.DataFrame, metric: str) -> dict[str, Any]:
    """What is recommended of ``allowed``, and what stands beside it."""
    found = board(block, list(allowed.index), relative=metric != "accuracy")
    take = recommended(found, {str(m): float(ms) for m, ms in allowed["adapt"].items()})
    row, words = found.row(take), found.table["verdict"].drop(take)
    beside = {word: list(words.index[words == word]) for word in ("best", "tied", "undecided")}
    beside["undecided"] = [f"{m} ({found.needed(m)})" for m in beside["undecided"]]
    said = [f"{'best mean' if w == 'best' else w}: {_some(m)}" for w, m in beside.items() if m]
    nothing = f"all others ({len(words)}) are behind" if len(words) else "there is no other"
    return {
        "limit": limit,
        "method": take,
        "family": allowed.loc[take, "family"],
        "score": amount(abs(row["mean"]), row["half"], metric),
        "train": allowed.loc[take, "train"],
        "adapt": allowed.loc[take, "adapt"],
        "compared": len(allowed),
        "beside": "; ".join(said) or nothing,
    } | beside


def _guessing(block: Block, among: Board, ways: int) -> str | None:
    """Chance accuracy, where the best method is not above it by more than the luckiest may be."""
    mean, half = intervals(block, len(among.table))[str(among.table.index[0])]
    return f"{100 / ways:.1f} %" if ways and mean - half <= 1 / ways else None


def _some(names: list[str]) -> str:
    """``a, b and 4 more``."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _control_ahead(block: Block, methods: set[str], metric: str) -> str | None:
    """Which control has a better mean than every method, and by how much; ``None``: none has."""
    found = board(block, relative=metric != "accuracy")
    first, *others = map(str, found.table.index)
    if first in methods:
        return None
    best = next(m for m in others if m in methods)
    row, score = found.row(best), found.row(first)
    between = span(row["low"], row["high"], metric)
    verdict = f"behind by {between}" if row["verdict"] == "behind" else row["verdict"]
    return (
        f"{first} has {amount(abs(score['mean']), score['half'], metric)}, and the best "
        f"method, {best}, is {verdict}"
    )


def _camps(
    rows: pd.DataFrame, block: Block, camps: pd.Series, validation: Mapping[str, Validation]
) -> str | None:
    """What the test between the camps' champions says; ``None`` if there is none."""
    first = rows.iloc[0]
    scores: dict[str, list[float]] = {str(m): [] for m in camps.index}
    for source in sorted(set(rows["source"])):
        mine = validation.get(source, {})
        form = form_for(mine, first["ways"], first["shots"])
        for method, found in scores.items():
            if form is not None and form in mine.get(method, {}):
                found.append(mine[method][form])
    sources = rows["source"].nunique()
    means = {m: float(np.mean(found)) for m, found in scores.items() if len(found) == sources}
    tests = compare_camps(block, means, dict(camps), first["metric"])
    return in_words(tests, first["metric"]) if tests else None
