"""The leaderboard: ``leaderboard.md``, ``leaderboard.csv`` and figures, from results alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from metabench.files import atomic, write_text
from metabench.reports import figures
from metabench.reports.summary import BLOCK, setting_label, summarise


def write_reports(
    results: pd.DataFrame, costs: pd.DataFrame, folder: Path, meta: dict[str, Any]
) -> pd.DataFrame:
    """Write all reports of a profile into ``folder``; returns the summary they are made of.

    Args:
        results: per-episode rows (``metabench.results.CONTRACT``).
        costs: one record per cell.
        meta: ``profile``, ``git_commit``, ``seeds``.
    """
    summary = summarise(results, costs)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    sources = [_source(name, rows, folder) for name, rows in summary.groupby("source", sort=False)]
    papers = sorted(set(zip(summary["method"], summary["paper"], strict=True)))
    text = (
        _environment()
        .get_template("leaderboard.md.j2")
        .render(meta=meta, sources=sources, papers=papers)
    )
    write_text(folder / "leaderboard.md", re.sub(r"\n{3,}", "\n\n", text) + "\n")
    with atomic(folder / "leaderboard.csv") as temporary:
        summary.to_csv(temporary, index=False, float_format="%.6g")
    return summary


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.reports"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
        autoescape=False,
    )


def _source(name: Any, rows: pd.DataFrame, folder: Path) -> dict[str, Any]:
    main = rows[rows["steps"] == -1]
    found = []
    by_ways: Iterable[tuple[Any, pd.DataFrame]] = main.groupby("ways")
    for ways, part in by_ways:
        if part["shots"].nunique() > 1:
            file = f"shots-{name}-{ways}w.svg" if ways else f"shots-{name}.svg"
            figures.accuracy_against_shots(part, folder / "figures" / file)
            found.append({"title": f"{name}: score against shots", "file": file})
        if ways:
            in_domain = part[part["target"] == name]
            block = (in_domain if len(in_domain) else part).sort_values(["target", "shots"])
            first = block[
                (block["target"] == block["target"].iloc[0])
                & (block["shots"] == block["shots"].iloc[0])
            ]
            setting = setting_label(ways, int(first["shots"].min()))
            total = first.assign(seconds=first["train_seconds"] + first["pretrain_seconds"])
            for cost, label in (
                ("seconds", "seconds to train, pretraining included"),
                ("adapt_ms", "milliseconds to adapt to one task"),
            ):
                file = f"cost-{cost}-{name}-{ways}w.svg"
                figures.cost_front(total, cost, f"{label} ({setting})", folder / "figures" / file)
                found.append({"title": f"{name}: accuracy against {label}", "file": file})
    blocks = [_block(key, block) for key, block in rows.groupby(BLOCK, sort=False)]
    return {"name": name, "figures": found, "blocks": blocks}


def _block(key: Any, rows: pd.DataFrame) -> dict[str, Any]:
    source, target, ways, shots = key
    main = rows[rows["steps"] == -1]
    accuracy = main["metric"].iloc[0] == "accuracy"
    tables = [{"title": "", "rows": _rows(main[~main["transductive"].astype(bool)])}]
    transductive = main[main["transductive"].astype(bool)]
    if len(transductive):
        title = "Transductive (queries are answered together; not comparable with the above):"
        tables.append({"title": title, "rows": _rows(transductive)})
    steps = sorted(rows.loc[rows["steps"] >= 0, "steps"].unique())
    by_steps = [
        {"method": method, "scores": [_score(part[part["steps"] == k].iloc[0]) for k in steps]}
        for method, part in rows[rows["steps"] >= 0].groupby("method")
    ]
    return {
        "target": target,
        "setting": setting_label(ways, shots),
        "anchor": f"{source}-{target}-{ways}w{shots}s",
        "metric": "accuracy %" if accuracy else "mean squared error",
        "tables": tables,
        "steps": steps,
        "by_steps": by_steps,
        "seeds": main["seeds"].max(),
        "episodes": main["episodes"].max(),
        "hash": main["episode_hash"].iloc[0][:12],
    }


def _score(row: pd.Series) -> str:
    if row["metric"] == "accuracy":
        return f"{100 * row['mean']:.1f} ± {100 * row['half']:.1f}"
    return f"{row['mean']:.3g} ± {row['half']:.2g}"


def _rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in rows.iterrows():
        shared = f" (+{row['pretrain_seconds']:.0f})" if row["pretrain_seconds"] else ""
        marks = [("T", row["transductive"]), ("E", row["external_pretraining"])]
        found.append(
            {
                "rank": row["rank"],
                "method": row["method"],
                "family": row["family"],
                "score": _score(row),
                "train": f"{row['train_seconds']:.0f}{shared}",
                "adapt": f"{row['adapt_ms']:.1f}",
                "flags": " ".join(mark for mark, on in marks if on),
            }
        )
    return found
