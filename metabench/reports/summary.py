"""From the scores of a board to one row per (source, target, setting, method)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from metabench.config import setting_label as form_label
from metabench.files import InputError
from metabench.pipeline.results import LEVEL, VAL
from metabench.reports.camps import camp_of, form_for, validation_of
from metabench.reports.machines import listed, machines_of
from metabench.reports.scores import (
    BLOCK,
    COLUMNS,
    ORACLE,
    Blocks,
    block_of_scores,
    blocks_of,
    combined,
    condense,
    deterministic_in,
    shared_learners,
    sign_of,
)
from metabench.reports.statistics.board import board
from metabench.reports.statistics.curves import calibration, shot_weights, shots_to_reach
from metabench.reports.statistics.intervals import for_these_classes, intervals
from metabench.reports.words import amount

COSTS = [
    "train_seconds", "pretrain_seconds", "train_flops", "adapt_ms", "predict_ms", "adapt_flops",
    "peak_memory_mb", "parameters", "trainable_parameters", "examples",
]  # fmt: skip

FLAGS = [
    "paper", "transductive", "external_pretraining", "start", "backbone", "source_training",
    "adapts",
]  # fmt: skip

EFFORT = ["outer_steps", "searched", "trials"]
"""Where they are known: steps of the outer optimiser, settings that were searched, and trials."""

VERDICTS = ["verdict", "behind", "behind_low", "behind_high", "seeds_needed", "episodes_needed",
            "detectable"]  # fmt: skip


def summarise(scores: pd.DataFrame, costs: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Mean, 95 % interval, rank, verdict, calibration and cost of every method.

    Args:
        scores: of :func:`metabench.reports.scores.condense`.
        costs: one record per cell.
        blocks: of the scores.

    Returns:
        One row per (source, target, ways, shots, steps, method): in-domain first, then by rank.
        Where classes are split anew, ``half`` is over ``splits``, ``half_here`` for these classes.
        Ranks and verdicts are among methods of the same standing: transductive ones by themselves,
        and the oracle. ``verdict`` is best, tied, behind or undecided; ``behind`` the paired
        difference to the best, positive if worse, from ``behind_low`` to ``behind_high``;
        ``seeds_needed`` and ``episodes_needed`` would decide what is undecided; ``detectable`` is
        the difference to the best that would be found 8 times in 10. ``nll`` and ``ece`` are of
        logits divided by ``temperature`` (its mean over seeds; NaN: none), those that begin with
        ``raw_`` of logits as they are; ``fitted_on`` is the form of the ``val`` episodes that the
        temperature is fitted on, which may have fewer ways. ``seen``, where any is true: the
        backbone was, or may have been, pretrained on classes of the episodes.

    Raises:
        InputError: a metric has the name of another column.
    """
    facts = costs.groupby(["source", "method"])
    cost = facts[COSTS].mean()
    effort = costs[["source", "method"]].join(costs.reindex(columns=EFFORT).apply(pd.to_numeric))
    cost = cost.join(effort.groupby(["source", "method"]).mean())
    flags = facts[[*FLAGS, *(name for name in LEVEL if name in costs)]].first()
    flags["camp"] = [camp_of(record) for record in facts.first().to_dict("records")]
    flags["git_commit"] = facts["git_commit"].agg(lambda found: "/".join(sorted(set(found))))
    places = [machines_of(record) for record in costs.to_dict("records")]
    machines = pd.DataFrame(places, index=costs.index)
    flags = flags.join(machines.groupby([costs["source"], costs["method"]]).agg(listed))
    shared = {source: shared_learners(mine) for source, mine in costs.groupby("source")}
    known = deterministic_in(costs)
    sets: Iterable[tuple[Any, pd.DataFrame]] = scores.groupby([*BLOCK, "steps"])
    rows = [
        row
        for key, found in sets
        for row in _means(
            dict(zip([*BLOCK, "steps"], key, strict=True)), found, shared[key[0]], known
        )
    ]
    summary = pd.DataFrame(rows).join(cost.join(flags), on=["source", "method"])
    summary["adaptation_steps"] = _adaptation_steps(summary, costs)
    if (summary["splits"] == 1).all():
        summary = summary.drop(columns=["half_here", "splits"])
    if any(seen := _seen(summary, costs)):
        summary["seen"] = seen
    summary["fitted_on"] = _fitted_on(summary, costs)
    summary["cross"] = summary["source"] != summary["target"]
    standing = [*BLOCK, "steps", "transductive", summary["method"] == ORACLE]
    signed = summary["mean"] * summary["metric"].map(sign_of)
    ranks = summary.assign(score=signed).groupby(standing)["score"]
    summary["rank"] = ranks.rank(ascending=False, method="min").astype(int)
    summary = summary.join(_verdicts(summary, blocks), on=[*BLOCK, "method"])
    summary.loc[summary["steps"] != -1, VERDICTS] = np.nan
    summary["selection"] = VAL
    order = ["source", "cross", *BLOCK[1:], "steps", "transductive", "bound", "rank", "method"]
    summary = _with_metrics(summary, scores).assign(bound=summary["method"] == ORACLE)
    return summary.sort_values(order, ignore_index=True).drop(columns="bound")


def by_other_rules(scores: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """As :func:`summarise`, of scores whose adaptation settings were chosen by another rule.

    They have neither rank nor verdict. Empty where there are none.
    """
    found = []
    for rule, rows in scores[scores["selection"] != VAL].groupby("selection", sort=False):
        whole = summarise(rows, costs, blocks_of(rows, costs)).assign(selection=rule)
        found.append(whole.assign(**dict.fromkeys(["rank", *VERDICTS], np.nan)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _with_metrics(summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """``summary`` with the means of the metrics that ``evaluation.metrics`` names."""
    names = [n for n in scores.columns if n not in (*COLUMNS, *LEVEL)]
    key = [*BLOCK, "steps", "method"]
    if taken := sorted(set(names) & set(summary.columns)):
        raise InputError(
            f"evaluation.metrics: a metric returns '{taken[0]}', which is a column of "
            "leaderboard.csv. Rename it there."
        )
    return summary.join(scores.groupby(key)[names].mean(), on=key) if names else summary


def _means(
    key: dict[str, Any], scores: pd.DataFrame, shared: dict[str, str], deterministic: set[str]
) -> list[dict[str, Any]]:
    """A row a method of one set of episodes; the oracle by itself, for no method errs so little."""
    found: list[dict[str, Any]] = []
    for _, peers in scores.groupby(scores["method"] == ORACLE):
        block = block_of_scores(peers, shared, deterministic)
        means = intervals(block)
        here = for_these_classes(block) if block.split_anew else means
        for method, rows in peers.groupby("method"):
            first, (mean, half) = rows.iloc[0], means[str(method)]
            mean = sign_of(first["metric"]) * mean + 0.0  # not −0
            found.append(
                key
                | {
                    "method": method,
                    "family": first["family"],
                    "metric": first["metric"],
                    "mean": mean,
                    "half": half,
                    "half_here": here[str(method)][1],
                    "low": mean - half,
                    "high": mean + half,
                    "nll": rows["nll"].mean(),
                    "ece": _ece(rows, "bin"),
                    "temperature": rows["temperature"].mean(),
                    "raw_nll": rows["raw_nll"].mean(),
                    "raw_ece": _ece(rows, "raw_bin"),
                    "seeds": len(rows),
                    "splits": rows["split"].nunique(),
                    "episodes": len(first["values"]),
                    "episode_hash": first["episode_hash"],
                }
            )
    return found


def _fitted_on(summary: pd.DataFrame, costs: pd.DataFrame) -> list[str | None]:
    """The form of ``val`` episodes behind each row's temperature; None where there is none."""
    known = validation_of(costs)
    columns = ["source", "method", "ways", "shots", "temperature"]
    return [
        None
        if np.isnan(temperature)
        else form_for({method: known.get(source, {}).get(method, {})}, ways, shots)
        for source, method, ways, shots, temperature in summary[columns].itertuples(index=False)
    ]


def _seen(summary: pd.DataFrame, costs: pd.DataFrame) -> list[bool]:
    """Whether each row's backbone has, or may have, learned classes of its episodes before."""
    if "seen" not in costs:
        return [False] * len(summary)
    known = costs.groupby(["source", "method"])["seen"].first()
    rows = summary[["source", "method", "target", "ways", "shots"]].itertuples(index=False)
    return [
        f"{target}/{form_label(ways, shots)}" in known[source, method]
        for source, method, target, ways, shots in rows
    ]


def without_seen(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of blocks in which no backbone has learned classes of the episodes before."""
    if "seen" not in summary:
        return summary
    return summary[~summary.groupby(BLOCK)["seen"].transform("any")]


def _adaptation_steps(summary: pd.DataFrame, costs: pd.DataFrame) -> list[float]:
    """Steps of each row's method in prediction; NaN where it takes none, or is not known to."""
    if "adaptation_steps" not in costs:
        return [np.nan] * len(summary)
    known = costs.groupby(["source", "method"])["adaptation_steps"].first()
    rows = summary[["source", "method", "ways", "shots"]].itertuples(index=False)
    return [
        float(known[source, method].get(form_label(ways, shots), np.nan))
        for source, method, ways, shots in rows
    ]


def _ece(rows: pd.DataFrame, of: str) -> float:
    """Of the seeds' queries together; NaN in regression."""
    return calibration(rows, of)[0] if rows["metric"].iloc[0] == "accuracy" else np.nan


def _verdicts(summary: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """The board of each block and standing, by block and method."""
    parts = []
    main = summary[(summary["steps"] == -1) & (summary["method"] != ORACLE)]
    groups: Iterable[tuple[Any, pd.DataFrame]] = main.groupby([*BLOCK, "transductive"])
    for key, peers in groups:
        found = board(blocks[key[:4]], list(peers["method"]), peers["metric"].iloc[0] != "accuracy")
        table = found.table.rename(columns={"low": "behind_low", "high": "behind_high"})
        table["detectable"] = found.detectable
        parts.append(table[VERDICTS].assign(**dict(zip(BLOCK, key[:4], strict=True))))
    if not parts:
        return pd.DataFrame(columns=[*BLOCK, "method", *VERDICTS]).set_index([*BLOCK, "method"])
    return pd.concat(parts).reset_index().set_index([*BLOCK, "method"])


def label_need(summary: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """Area under accuracy against log₂(shots), and the shots that reach a level.

    The level is what the best method has with the fewest shots, so ``shots`` says how many labels
    a method needs for what another does with those; NaN: more than were tried.

    Returns:
        One row per (source, target, ways, method) with two settings of shots or more.
    """
    rows = []
    main = summary[(summary["steps"] == -1) & (summary["metric"] == "accuracy")]
    for (source, target, ways), lines in main.groupby(["source", "target", "ways"], sort=False):
        shots = sorted(lines["shots"].unique())
        if len(shots) < 2:
            continue
        fair = lines[~lines["transductive"].astype(bool) & (lines["method"] != ORACLE)]
        fair = fair if len(fair) else lines
        level = float(fair.loc[fair["shots"] == shots[0], "mean"].max())
        mine = [blocks[source, target, ways, k] for k in shots]
        whole = combined(mine, list(shot_weights(shots)))
        areas, facts = intervals(whole), lines.groupby("method").first()
        for method in whole.methods:
            means = lines[lines["method"] == method].set_index("shots")["mean"]
            rows.append(
                {
                    "source": source,
                    "target": target,
                    "ways": ways,
                    "method": method,
                    "family": facts["family"][method],
                    "transductive": facts["transductive"][method],
                    "area": areas[method][0],
                    "area_half": areas[method][1],
                    "level": level,
                    "shots": shots_to_reach(dict(means), level),
                    "most": shots[-1],
                }
            )
    frame = pd.DataFrame(rows)
    return frame.sort_values("area", ascending=False, ignore_index=True) if rows else frame


def generalisation(summary: pd.DataFrame, blocks: Blocks) -> pd.DataFrame:
    """The drop from in-domain to cross-domain, with its interval.

    Returns:
        One row per (source, target ≠ source, ways, shots, method) that has an in-domain score.
    """
    rows = []
    main = summary[(summary["steps"] == -1) & (summary["metric"] == "accuracy")]
    away = main[main["cross"]]
    for key, lines in away.groupby(BLOCK, sort=False):
        source, _, ways, shots = key
        home = blocks.get((source, source, ways, shots))
        if home is None:
            continue
        both = combined([home, blocks[key]], [1, -1])
        drops, homes = intervals(both), intervals(home)
        for row in lines[lines["method"].isin(both.methods)].to_dict("records"):
            method = row["method"]
            kept = {k: row[k] for k in [*BLOCK, "method", "family", "transductive"]}
            drop, half = drops[method]
            both_means = {"home": homes[method][0], "away": row["mean"]}
            rows.append(kept | both_means | {"drop": drop, "drop_half": half})
    frame = pd.DataFrame(rows)
    return frame.sort_values("drop", ignore_index=True) if rows else frame


def reliability(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean confidence, accuracy and count by bin, for every block and method (accuracy only)."""
    main = scores[(scores["steps"] == -1) & (scores["metric"] == "accuracy")]
    parts = []
    for key, frame in main.groupby([*BLOCK, "method", "family"]):
        bins = calibration(frame)[1].query("count > 0")
        names: dict[str, Any] = dict(zip([*BLOCK, "method", "family"], key, strict=True))
        parts.append(bins.assign(**names))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def scores_of(results: pd.DataFrame, costs: pd.DataFrame) -> list[tuple[str, ...]]:
    """Source and target, setting, method, score with its interval, and seeds of each row."""
    scores = condense(results[results["steps"] == -1])
    return [
        (
            f"{row['source']} → {row['target']}",
            setting_label(row["ways"], row["shots"]),
            row["method"],
            amount(row["mean"], row["half"], row["metric"]),
            str(row["seeds"]),
        )
        for row in summarise(scores, costs, blocks_of(scores, costs)).to_dict("records")
    ]


def setting_label(ways: int, shots: int) -> str:
    """``5-way 1-shot``, or ``10 points`` for regression."""
    return f"{ways}-way {shots}-shot" if ways else f"{shots} points"
