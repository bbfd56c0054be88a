"""The decision guide: which family and method for so many shots, so far a domain, so much compute.

Evidence is pooled over all sources and targets of one kind of domain; comparisons are on identical
episodes, intervals are over seeds and episodes, verdicts allow for all that was compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metabench.reports.statistics.board import board, recommended
from metabench.reports.statistics.crossed import Difference, contrast, paired
from metabench.reports.statistics.tables import Block
from metabench.reports.summary import (
    LEVEL,
    ORACLE,
    Tables,
    setting_label,
    shared_learners,
    sign_of,
)

CAMPS = {
    "meta-learning": {"optimisation", "metric", "model"},
    "transfer": {"feature", "parameter"},
}
QUICK = 5
"""A method is quick to adapt if it takes at most so many times the quickest one's milliseconds."""


def guide(summary: pd.DataFrame, tables: Tables) -> list[dict[str, Any]]:
    """One entry for each (ways, domain, shots), fewest shots first.

    Controls and transductive methods are no candidates: a control is a yardstick, and a
    transductive method needs many queries at once. Where a control is ahead, the entry says so;
    the oracle, which knows what is to be learned, apart.
    """
    main = summary[(summary["steps"] == -1) & ~summary["transductive"].astype(bool)]
    return [
        _situation(rows[rows["family"] != "control"], tables)
        | {"control": _control_ahead(rows[rows["method"] != ORACLE], tables)}
        for _, rows in main.groupby(["ways", "cross", "shots"])
        if rows.loc[rows["family"] != "control", "method"].nunique() > 1
    ]


def _control_ahead(rows: pd.DataFrame, tables: Tables) -> str | None:
    """Which control has a better mean than every method, and by how much; ``None``: none has."""
    pooled, weights = pool(rows, tables)
    controls = set(rows.loc[rows["family"] == "control", "method"]) & set(pooled)
    first = max(pooled, key=lambda m: contrast(pooled[m], weights).mean)
    if first not in controls:
        return None
    methods = {m: found for m, found in pooled.items() if m not in controls}
    best = max(methods, key=lambda m: contrast(methods[m], weights).mean)
    found = paired(pooled[first], pooled[best], weights)
    p = min(1.0, found.p * len(controls) * len(methods))
    metric = rows["metric"].iloc[0]
    score = contrast(pooled[first], weights)
    return (
        f"{first} has {amount(abs(score.mean), score.half, metric)}, ahead of {best} by "
        f"{amount(found.interval.mean, found.interval.half, metric)}, {p_text(p)}"
    )


def pool(rows: pd.DataFrame, tables: Tables) -> tuple[dict[str, list[np.ndarray]], list[float]]:
    """Scores of each method by set of episodes, averaged over sources, and the sets' weights.

    Methods that lack a block are left out. Lower-is-better scores change sign.
    """
    blocks = sorted(
        set(zip(rows["source"], rows["target"], rows["ways"], rows["shots"], strict=True))
    )
    by_target = {b[1]: [c for c in blocks if c[1] == b[1]] for b in blocks}
    sign = sign_of(rows["metric"].iloc[0])
    pooled = {
        method: [
            sign * np.mean([tables[block, method] for block in members], axis=0)
            for members in by_target.values()
        ]
        for method in sorted(rows["method"].unique())
        if all((block, method) in tables for block in blocks)
    }
    return pooled, [len(members) / len(blocks) for members in by_target.values()]


def _situation(rows: pd.DataFrame, tables: Tables) -> dict[str, Any]:
    pooled, weights = pool(rows, tables)
    facts = rows.groupby("method").agg(
        family=("family", "first"), train=("train_seconds", "mean"), adapt=("adapt_ms", "mean"),
    ).loc[list(pooled)]  # fmt: skip
    limits = {
        "any": facts.index,
        f"quick to adapt (within {QUICK}× the quickest)": facts.index[
            facts["adapt"] <= QUICK * facts["adapt"].min()
        ],
        "nothing to train but the shared backbone": facts.index[facts["train"] < 1],
    }
    first, block = rows.iloc[0], block_of_tables(pooled, weights, rows)
    return {
        "setting": setting_label(first["ways"], first["shots"]),
        "domain": "cross-domain" if first["cross"] else "in-domain",
        "blocks": sorted(
            {f"{s} → {t}" for s, t in zip(rows["source"], rows["target"], strict=True)}
        ),
        "metric": first["metric"],
        "seeds": int(rows["seeds"].min()),
        "detectable": detectable_difference(block, first["metric"]),
        "choices": [
            _choice(name, block, list(allowed), facts, first["metric"])
            for name, allowed in limits.items()
            if len(allowed)
        ],
        "camps": _camps(pooled, weights, facts, first["metric"]),
    }


def block_of_tables(
    tables: Mapping[str, Sequence[np.ndarray]], weights: Sequence[float], rows: pd.DataFrame
) -> Block:
    """Scores by method, a table ``[S, E_k]`` for each set of episodes; higher is better."""
    sets = tuple(np.stack(found) for found in zip(*tables.values(), strict=True))
    return Block(tuple(tables), sets, tuple(weights), shared=shared_learners(rows))


def detectable_difference(block: Block, metric: str) -> str | None:
    """``2.1 points`` (or of an error); ``None`` if nothing is known of other seeds."""
    found = board(block, relative=metric != "accuracy").detectable
    if not np.isfinite(found):
        return None
    return f"{100 * found:.1f} points" if metric == "accuracy" else f"{found:.2g}"


def _choice(
    limit: str, block: Block, allowed: list[str], facts: pd.DataFrame, metric: str
) -> dict[str, Any]:
    """The best of ``allowed``, what stands beside it, and what is recommended of these."""
    found = board(block, allowed, relative=metric != "accuracy")
    best, words = str(found.table.index[0]), found.table["verdict"]
    score = contrast([s[block.methods.index(best)] for s in block.sets], block.weights)
    cheap = recommended(found, {m: float(facts["adapt"][m]) for m in allowed})
    return {
        "limit": limit,
        "method": best,
        "family": facts.loc[best, "family"],
        "score": amount(abs(score.mean), score.half, metric),
        "train": facts.loc[best, "train"],
        "adapt": facts.loc[best, "adapt"],
        "compared": len(allowed),
        "tied": words.index[words == "tied"].tolist(),
        "undecided": words.index[words == "undecided"].tolist(),
        "cheapest": cheap,
        "cheapest_ms": facts.loc[cheap, "adapt"],
    }


def _camps(
    pooled: dict[str, list[np.ndarray]], weights: list[float], facts: pd.DataFrame, metric: str
) -> dict[str, Any] | None:
    """The best meta-learner against the best transfer method.

    Both are chosen by the same data, so p is multiplied by the number of pairs there were.
    """
    members = {
        camp: [m for m in pooled if facts.loc[m, "family"] in families]
        for camp, families in CAMPS.items()
    }
    if not all(members.values()):
        return None
    best = {
        camp: max(names, key=lambda m: contrast(pooled[m], weights).mean)
        for camp, names in members.items()
    }
    pairs = len(members["meta-learning"]) * len(members["transfer"])
    found = paired(pooled[best["meta-learning"]], pooled[best["transfer"]], weights)
    p = min(1.0, found.p * pairs)
    return best | {"pairs": pairs, "verdict": verdict(best, found, p, metric)}


def verdict(best: dict[str, str], found: Difference, p: float, metric: str) -> str:
    """One sentence: who is ahead and by how much, or that it is undecided."""
    size = amount(abs(found.interval.mean), found.interval.half, metric)
    evidence = f"{size}, {p_text(p)}, effect size {abs(found.d_z):.2f}"
    ahead, other = ("meta-learning", "transfer")[:: 1 if found.interval.mean >= 0 else -1]
    if p > LEVEL:
        return f"undecided ({best[ahead]} is ahead of {best[other]} by {evidence})"
    return f"{ahead}: {best[ahead]} is better than {best[other]} by {evidence}"


def amount(mean: float, half: float, metric: str) -> str:
    """``71.2 ± 0.8`` (per cent), or ``0.43 ± 0.02`` of squared error."""
    if metric == "accuracy":
        return f"{100 * mean:.1f} ± {100 * half:.1f}"
    return f"{mean:.3g} ± {half:.2g}"


def p_text(p: float) -> str:
    """``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
