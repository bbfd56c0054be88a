"""From per-episode results to one row per (source, target, setting, method)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from metabench.files import InputError
from metabench.pipeline.results import further
from metabench.reports.statistics.crossed import (
    Interval,
    against_best,
    calibration,
    contrast,
    interval,
    shot_weights,
    shots_to_reach,
    table_of,
)

BLOCK = ["source", "target", "ways", "shots"]
"""What makes two numbers comparable: the same source classes and the same frozen episodes."""

COSTS = [
    "train_seconds", "pretrain_seconds", "train_flops", "adapt_ms", "predict_ms", "adapt_flops",
    "peak_memory_mb", "parameters", "trainable_parameters", "examples",
]  # fmt: skip

ORACLE = "oracle"
"""Knows the law of the tasks: its error is that of rounding, and says nothing about a problem."""

LEVEL = 0.05
"""Of every test, after Holm."""

Tables = Mapping[tuple[Any, Any], np.ndarray]
"""Scores ``[seeds, episodes]`` by block and method, without extra rows by adaptation step."""


def check_comparable(results: pd.DataFrame) -> None:
    """Refuse to compare what was not measured on the same episodes.

    Raises:
        InputError: results of one target and setting carry different episode hashes, or a cell is
            there twice.
    """
    for setting, rows in results.groupby(["target", "ways", "shots"]):
        if rows["episode_hash"].nunique() > 1:
            cells = [
                sorted(
                    {
                        f"{source}/{method}"
                        for source, method in zip(r["source"], r["method"], strict=True)
                    }
                )
                for _, r in rows.groupby("episode_hash")
            ]
            odd = min(cells, key=len)
            raise InputError(
                f"{setting}: results on different episodes cannot be compared. "
                f"{', '.join(odd)} differ from the rest: run `dvc repro` to evaluate them again."
            )
    twice = results.duplicated([*BLOCK, "method", "seed", "steps", "episode"])
    if twice.any():
        row = results[twice].iloc[0]
        raise InputError(f"{row['source']}/{row['method']}/{row['seed']}: collected twice")


def score_tables(results: pd.DataFrame) -> Tables:
    """The tables that all comparisons are made of."""
    main = results[results["steps"] == -1].groupby([*BLOCK, "method"], sort=False)
    return {(key[:4], key[4]): table_of(frame) for key, frame in main}


def summarise(results: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % interval, rank, comparison with the best, calibration and cost of every method.

    Returns:
        One row per (source, target, ways, shots, steps, method): in-domain first, then by rank.
        Ranks and comparisons are among methods of the same standing: transductive ones by
        themselves.
        ``behind`` ± ``behind_half`` is the paired difference to the best, positive if worse, ``p``
        its test after Holm, ``tied`` whether that leaves the method among the best.

    Raises:
        InputError: results on different episodes, or a metric with the name of another column.
    """
    check_comparable(results)
    facts = costs.groupby(["source", "method"])
    cost = facts[COSTS].mean()
    flags = facts[["paper", "transductive", "external_pretraining", "start", "backbone"]].first()
    flags["git_commit"] = facts["git_commit"].agg(lambda found: "/".join(sorted(set(found))))
    rows = []
    for name, frame in results.groupby([*BLOCK, "steps", "method", "family", "metric"]):
        source, target, ways, shots, steps, method, family, metric = name
        table = table_of(frame)
        found = interval(table)
        rows.append(
            {
                "source": source,
                "target": target,
                "ways": ways,
                "shots": shots,
                "steps": steps,
                "method": method,
                "family": family,
                "metric": metric,
                "mean": found.mean,
                "half": found.half,
                "low": found.low,
                "high": found.high,
                "nll": frame["nll"].mean(),
                "ece": calibration(frame)[0] if metric == "accuracy" else float("nan"),
                "seeds": table.shape[0],
                "episodes": table.shape[1],
                "episode_hash": frame["episode_hash"].iloc[0],
            }
        )
    summary = pd.DataFrame(rows).join(cost.join(flags), on=["source", "method"])
    better = summary["mean"].where(summary["metric"] == "accuracy", -summary["mean"])
    groups = summary.assign(score=better).groupby([*BLOCK, "steps", "transductive"])["score"]
    summary["rank"] = groups.rank(ascending=False, method="min").astype(int)
    summary = summary.join(_comparisons(summary, score_tables(results)), on=[*BLOCK, "method"])
    extra = summary["steps"] != -1
    summary.loc[extra, ["behind", "behind_half", "p", "effect"]] = np.nan
    summary["tied"] = (summary["p"] > LEVEL) & ~extra
    order = ["source", "cross", *BLOCK[1:], "steps", "transductive", "rank"]
    summary["cross"] = summary["source"] != summary["target"]
    return _with_metrics(summary, results).sort_values(order, ignore_index=True)


def _with_metrics(summary: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """``summary`` with the means of the metrics that ``evaluation.metrics`` names."""
    names, key = further(results), [*BLOCK, "steps", "method"]
    if taken := sorted(set(names) & set(summary.columns)):
        raise InputError(
            f"evaluation.metrics: a metric returns '{taken[0]}', which is a column of "
            "leaderboard.csv. Rename it there."
        )
    return summary.join(results.groupby(key)[names].mean(), on=key) if names else summary


def _comparisons(summary: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    rows = {}
    main = summary[summary["steps"] == -1]
    for key, block in main.groupby([*BLOCK, "transductive"]):
        sign = sign_of(block["metric"].iloc[0])
        compared = {m: [sign * tables[key[:4], m]] for m in block["method"]}
        for method, found in against_best(compared).items():
            rows[(*key[:4], method)] = {
                "behind": found.interval.mean,
                "behind_half": found.interval.half,
                "p": found.p,
                "effect": found.d_z,
            }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=[*BLOCK, "method"])
    return frame


def shared_learners(costs: pd.DataFrame) -> dict[str, str]:
    """The pretrained backbone that each method of one source starts from, if it shares one."""
    shared = costs[(costs["start"] != "random") & ~costs["external_pretraining"].astype(bool)]
    return dict(zip(shared["method"], shared["backbone"], strict=True))


def sign_of(metric: str) -> int:
    """1 if higher is better, −1 if lower is."""
    return 1 if metric == "accuracy" else -1


def label_need(summary: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Area under accuracy against log₂(shots), and the shots that reach a level.

    The level is what the best method has with the fewest shots, so ``shots`` says how many labels
    a method needs for what another does with those; NaN: more than were tried.

    Returns:
        One row per (source, target, ways, method) with two settings of shots or more.
    """
    rows = []
    main = summary[(summary["steps"] == -1) & (summary["metric"] == "accuracy")]
    for (source, target, ways), block in main.groupby(["source", "target", "ways"], sort=False):
        fair = block[~block["transductive"].astype(bool)]
        fair = fair if len(fair) else block
        level = float(fair.loc[fair["shots"] == block["shots"].min(), "mean"].max())
        for method, line in block.groupby("method", sort=False):
            shots = sorted(line["shots"])
            if len(shots) < 2:
                continue
            found = [tables[(source, target, ways, k), str(method)] for k in shots]
            area = contrast(found, list(shot_weights(shots)))
            means = {k: float(t.mean()) for k, t in zip(shots, found, strict=True)}
            rows.append(
                {
                    "source": source,
                    "target": target,
                    "ways": ways,
                    "method": method,
                    "family": line["family"].iloc[0],
                    "transductive": line["transductive"].iloc[0],
                    "area": area.mean,
                    "area_half": area.half,
                    "level": level,
                    "shots": shots_to_reach(means, level),
                    "most": shots[-1],
                }
            )
    frame = pd.DataFrame(rows)
    return frame.sort_values("area", ascending=False, ignore_index=True) if rows else frame


def generalisation(summary: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The drop from in-domain to cross-domain, with its interval.

    Returns:
        One row per (source, target ≠ source, ways, shots, method) that has an in-domain score.
    """
    rows = []
    main = summary[(summary["steps"] == -1) & (summary["metric"] == "accuracy")]
    for row in main[main["source"] != main["target"]].to_dict("records"):
        source, ways, shots, method = (row[k] for k in ("source", "ways", "shots", "method"))
        home = tables.get(((source, source, ways, shots), method))
        if home is not None:
            away = tables[(source, row["target"], ways, shots), method]
            drop = contrast([home, away], [1, -1])
            kept = {k: row[k] for k in [*BLOCK, "method", "family", "transductive"]}
            rows.append(kept | {"home": home.mean(), "away": away.mean()} | _span(drop))
    frame = pd.DataFrame(rows)
    return frame.sort_values("drop", ignore_index=True) if rows else frame


def _span(drop: Interval) -> dict[str, float]:
    return {"drop": drop.mean, "drop_half": drop.half}


def reliability(results: pd.DataFrame) -> pd.DataFrame:
    """Mean confidence, accuracy and count by bin, for every block and method (accuracy only)."""
    main = results[(results["steps"] == -1) & (results["metric"] == "accuracy")]
    parts = []
    for key, frame in main.groupby([*BLOCK, "method", "family"]):
        bins = calibration(frame)[1].query("count > 0")
        names: dict[str, Any] = dict(zip([*BLOCK, "method", "family"], key, strict=True))
        parts.append(bins.assign(**names))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def setting_label(ways: int, shots: int) -> str:
    """``5-way 1-shot``, or ``10 points`` for regression."""
    return f"{ways}-way {shots}-shot" if ways else f"{shots} points"
