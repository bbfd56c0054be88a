"""From per-episode results to one row per (source, target, setting, method)."""

from __future__ import annotations

import pandas as pd

from metabench.evaluation.statistics import calibration, interval, table_of
from metabench.files import InputError

BLOCK = ["source", "target", "ways", "shots"]
"""What makes two numbers comparable: the same source classes and the same frozen episodes."""

COSTS = [
    "train_seconds", "pretrain_seconds", "train_flops", "adapt_ms", "predict_ms", "adapt_flops",
    "peak_memory_mb", "parameters", "trainable_parameters", "examples",
]  # fmt: skip


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


def summarise(results: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Mean, 95 % interval, rank, calibration and cost of every method in every block.

    Returns:
        One row per (source, target, ways, shots, steps, method), best first within a block. Ranks
        count methods of the same standing: transductive ones are ranked among themselves.
    """
    check_comparable(results)
    facts = costs.groupby(["source", "method"])
    cost = facts[COSTS].mean()
    flags = facts[["paper", "transductive", "external_pretraining", "start", "backbone"]].first()
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
    return summary.sort_values([*BLOCK, "steps", "transductive", "rank"], ignore_index=True)


def setting_label(ways: int, shots: int) -> str:
    """``5-way 1-shot``, or ``10 points`` for regression."""
    return f"{ways}-way {shots}-shot" if ways else f"{shots} points"
