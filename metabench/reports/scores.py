"""The scores of a board, as small as reports need them: a row a cell and set of episodes.

Reports are made of this alone, whether it comes from result files or from the table that is stored
with a board: so a board and its verdicts can be made again from a clone, byte by byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metabench.files import InputError
from metabench.pipeline.results import LEVEL, VAL, further
from metabench.reports.statistics.tables import Block

BLOCK = ["source", "target", "ways", "shots"]
"""What makes two numbers comparable: the same source classes and the same frozen episodes."""

ORACLE = "oracle"
"""Knows the law of the tasks: its error is that of rounding, and says nothing about a problem."""

KEY = [*BLOCK, "steps", "method", "family", "seed", "metric", "episode_hash"]
BINS = ["bin_count", "bin_correct", "bin_confidence"]
UNCALIBRATED = [*KEY, "values", "nll", *BINS]
"""Columns of boards that were made before logits were divided by a temperature."""
RAW = ["nll", *BINS]
"""What is there as ``raw_`` too: of logits as they are."""
COLUMNS = [
    *UNCALIBRATED, "temperature", *(f"raw_{name}" for name in RAW), "selection", "split",
]  # fmt: skip
"""Of condensed scores; then come their level, which older boards do not have, and the means of the
metrics that ``evaluation.metrics`` names."""

Blocks = dict[tuple[Any, ...], Block]
"""By source, target, ways and shots; the oracle apart, for no method is its peer."""


def condense(results: pd.DataFrame, selection: str = VAL) -> pd.DataFrame:
    """A row for each cell, target, setting and number of steps, in a fixed order.

    Args:
        results: per-episode rows (``metabench.pipeline.results.CONTRACT``).
        selection: the rule by which adaptation settings were chosen: only these rows count.

    Returns:
        ``COLUMNS``: ``values`` are the scores of the episodes as float32 (accuracies of up to some
        thousand queries stay apart, errors are of that type); ``nll`` is a mean, ``BINS`` are sums,
        and so are those of logits as they are (``raw_``).

    Raises:
        InputError: a cell is there twice, has a score that is not finite, or cells have other
            episodes than the rest.
    """
    rows, results = [], results[results["selection"] == selection]
    names = [*KEY, *LEVEL]
    cells: Iterable[tuple[Any, pd.DataFrame]] = results.groupby(names)
    for key, frame in cells:
        if frame["episode"].duplicated().any():
            where = dict(zip(names, key, strict=True))
            raise InputError("{source}/{method}/{seed}: collected twice".format(**where))
        ordered = frame.sort_values("episode")
        facts: dict[str, Any] = dict(zip(names, key, strict=True))
        values = ordered["value"].to_numpy(np.float32)
        if not np.isfinite(values).all():
            raise InputError(
                "{source}/{method}/{seed}: scores on {target} are not all finite, so no mean says "
                "anything. Lower its learning rates, or take it out of params.yaml.".format(**facts)
            )
        facts |= {"values": values, "nll": ordered["nll"].mean()}
        facts |= {
            "temperature": ordered["temperature"].iloc[0],
            "raw_nll": ordered["raw_nll"].mean(),
            "split": ordered["split"].iloc[0],
        }
        for name in [*BINS, *(f"raw_{name}" for name in BINS)]:
            bins = ordered[name].map(np.asarray) if facts["metric"] == "accuracy" else [np.empty(0)]
            facts[name] = np.sum(np.stack(list(bins)), axis=0, dtype=float)
        rows.append(facts | ordered[further(ordered)].mean().to_dict())
    scores = pd.DataFrame(rows).assign(selection=selection)
    scores = scores[[*COLUMNS, *LEVEL, *further(results)]]
    _check_comparable(scores)
    return scores


def _check_comparable(scores: pd.DataFrame) -> None:
    for setting, rows in scores.groupby(["target", "ways", "shots", "split"]):
        if rows["episode_hash"].nunique() > 1:
            cells: list[list[str]] = [
                sorted(set(r["source"] + "/" + r["method"]))
                for _, r in rows.groupby("episode_hash")
            ]
            odd = min(cells, key=len)
            raise InputError(
                f"{setting}: results on different episodes cannot be compared. "
                f"{', '.join(odd)} differ from the rest: run `dvc repro` to "
                "evaluate them again."
            )


def block_of_scores(
    rows: pd.DataFrame,
    shared: Mapping[str, str] | None = None,
    deterministic: Collection[str] = (),
) -> Block:
    """The block of rows of one set of episodes, each method with the seeds that it has.

    Args:
        rows: of :func:`condense`.
        shared: the backbone that a method shares with others, as :func:`shared_learners` tells.
        deterministic: methods on which a seed has no influence, where their scores do not tell.
    """
    methods, seeds = sorted(rows["method"].unique()), sorted(rows["seed"].unique())
    splits = rows.groupby("seed")["split"].first()
    found = np.full((len(methods), len(seeds), len(rows["values"].iloc[0])), np.nan)
    for method, seed, values in zip(rows["method"], rows["seed"], rows["values"], strict=True):
        found[methods.index(method), seeds.index(seed)] = values
    signed = sign_of(rows["metric"].iloc[0]) * found
    several = splits.nunique() > 1
    return Block(
        tuple(methods),
        (signed,),
        (1.0,),
        deterministic,
        shared,
        tuple(splits[seeds]) if several else (),
        frozenset({0} if several and rows["episode_hash"].nunique() > 1 else ()),
    )


def blocks_of(scores: pd.DataFrame, costs: pd.DataFrame) -> Blocks:
    """The blocks that comparisons are made of."""
    main = scores[(scores["steps"] == -1) & (scores["method"] != ORACLE)]
    shared = {source: shared_learners(mine) for source, mine in costs.groupby("source")}
    groups: Iterable[tuple[Any, pd.DataFrame]] = main.groupby(BLOCK, sort=False)
    known = deterministic_in(costs)
    return {key: block_of_scores(rows, shared[key[0]], known) for key, rows in groups}


def deterministic_in(costs: pd.DataFrame) -> set[str]:
    """The methods on which a seed has no influence, as far as the records say so."""
    return set(costs.loc[costs["deterministic"], "method"]) if "deterministic" in costs else set()


def shared_learners(costs: pd.DataFrame) -> dict[str, str]:
    """The pretrained backbone that each method of one source starts from, if it shares one."""
    shared = costs[(costs["start"] != "random") & ~costs["external_pretraining"].astype(bool)]
    if "pretraining" in shared:  # older boards know of one for each source
        shared = shared.assign(backbone=shared["backbone"] + " " + shared["pretraining"])
    return dict(zip(shared["method"], shared["backbone"], strict=True))


def combined(blocks: Sequence[Block], weights: Sequence[float]) -> Block:
    """A weighted sum of the blocks of one source, for the methods that all of them have."""
    methods = set.intersection(*(set(block.methods) for block in blocks))
    alike = [block.only(methods) for block in blocks]
    nested = frozenset(i for i, block in enumerate(alike) if block.nested)
    sets = tuple(block.sets[0] for block in alike)
    return replace(alike[0], sets=sets, weights=tuple(weights), nested=nested)


def sign_of(metric: str) -> int:
    """1 if higher is better, −1 if lower is."""
    return 1 if metric == "accuracy" else -1
