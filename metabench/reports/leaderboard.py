"""The leaderboard of a profile: markdown, csv, figures, guide and page, from results alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from metabench.files import atomic, write_text
from metabench.reports import figures
from metabench.reports.guide import (
    amount,
    block_of_tables,
    detectable_difference,
    guide,
    p_text,
)
from metabench.reports.page import write_page
from metabench.reports.statistics.crossed import ranking
from metabench.reports.summary import (
    BLOCK,
    Tables,
    generalisation,
    label_need,
    reliability,
    score_tables,
    setting_label,
    sign_of,
    summarise,
)
from metabench.shown import markdown

COSTS_OF_INTEREST = (
    ("seconds", "seconds to train, pretraining included"),
    ("adapt_ms", "milliseconds to adapt to one task"),
)


def write_reports(
    results: pd.DataFrame, costs: pd.DataFrame, folder: Path, meta: dict[str, Any]
) -> pd.DataFrame:
    """Write all reports of a profile into ``folder``; returns the summary they are made of.

    Args:
        results: per-episode rows (``metabench.pipeline.results.CONTRACT``).
        costs: one record per cell.
        meta: ``profile``, ``git_commit``, ``seeds``, ``params``.
    """
    summary = summarise(results, costs).assign(profile=meta["profile"])
    tables, bins = score_tables(results), reliability(results)
    for stale in (folder / "figures").glob("*.svg"):
        stale.unlink()
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    common = _across(summary, tables, folder)
    sources = [
        _source(name, rows, tables, bins, folder)
        for name, rows in summary.groupby("source", sort=False)
    ]
    papers = sorted(set(zip(summary["method"], summary["paper"], strict=True)))
    _render("leaderboard.md", folder, meta=meta, sources=sources, papers=papers, common=common)
    _render("decision_guide.md", folder, meta=meta, situations=guide(summary, tables))
    with atomic(folder / "leaderboard.csv") as temporary:
        summary.to_csv(temporary, index=False, float_format="%.6g")
    write_text(folder / "params.yaml", yaml.safe_dump(meta["params"], sort_keys=False))
    drawn = common + [figure for source in sources for figure in source["figures"]]
    write_page(summary, drawn, folder, meta)
    return summary


def _render(name: str, folder: Path, **values: Any) -> None:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.reports", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters |= {"md": markdown, "anchor": anchor}
    text = environment.get_template(f"{name}.j2").render(values)
    write_text(folder / name, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def anchor(*names: object) -> str:
    """An id in the page, and the part of a link that leads to it."""
    return re.sub(r"[^\w.:-]+", "-", "-".join(map(str, names)))


def _across(summary: pd.DataFrame, tables: Tables, folder: Path) -> list[dict[str, str]]:
    """Figures over all sources: generalisation and ranks."""
    main, found = summary[(summary["steps"] == -1)], []
    for ways, part in main[main["metric"] == "accuracy"].groupby("ways"):
        if len(part[["source", "target"]].drop_duplicates()) > 1:
            file = f"generalisation-{ways}w.svg"
            figures.heatmap(part, folder / "figures" / file)
            found.append({"title": f"Accuracy %, {ways}-way, source → target", "file": file})
    fair = main[~main["transductive"].astype(bool)]
    scores = {
        name: part.assign(score=part["mean"] * sign_of(part["metric"].iloc[0]))
        .pivot(index=BLOCK, columns="method", values="score")
        .dropna(axis=1)
        for name, part in (
            ("classification", fair[fair["metric"] == "accuracy"]),
            ("regression", fair[fair["metric"] != "accuracy"]),
        )
        if len(part)
    }
    families = dict(zip(summary["method"], summary["family"], strict=True))
    for name, table in scores.items():
        if table.shape[0] >= 2 and table.shape[1] >= 3:
            file = f"ranks-{name}.svg"
            figures.critical_difference(
                ranking(table), families, len(table), folder / "figures" / file
            )
            found.append({"title": f"Average ranks, {name}", "file": file})
    return found


def _source(
    name: Any, rows: pd.DataFrame, tables: Tables, bins: pd.DataFrame, folder: Path
) -> dict[str, Any]:
    main = rows[rows["steps"] == -1]
    found = []

    def add(title: str, file: str) -> Path:
        found.append({"title": f"{name}: {title}", "file": file})
        return folder / "figures" / file

    by_ways: Iterable[tuple[Any, pd.DataFrame]] = main.groupby("ways")
    for ways, part in by_ways:
        if part["shots"].nunique() > 1:
            file = f"shots-{name}-{ways}w.svg" if ways else f"shots-{name}.svg"
            figures.accuracy_against_shots(part, add("score against shots", file))
        if ways:
            _cost_figures(part, ways, add)
            for target, block in part.groupby("target", sort=False):
                shots = block["shots"].min()
                wanted = bins.query(
                    "source == @name and target == @target and ways == @ways and shots == @shots"
                )
                title = f"reliability on {target}, {setting_label(ways, shots)}"
                path = add(title, f"reliability-{name}-{target}-{ways}w{shots}s.svg")
                figures.reliability_diagram(wanted, f"{name} → {title}", path)
    blocks = [_block(key, block, tables) for key, block in rows.groupby(BLOCK, sort=False)]
    return {
        "name": name,
        "figures": found,
        "blocks": blocks,
        "backbones": main["backbone"].nunique(),
        "overview": overview(rows),
        "need": label_need(rows, tables).to_dict("records"),
        "drops": _drops(generalisation(rows, tables)),
    }


def _cost_figures(part: pd.DataFrame, ways: int, add: Any) -> None:
    source = part["source"].iloc[0]
    in_domain = part[part["target"] == source]
    block = (in_domain if len(in_domain) else part).sort_values(["target", "shots"])
    first = block[
        (block["target"] == block["target"].iloc[0]) & (block["shots"] == block["shots"].iloc[0])
    ]
    setting = f"{first['target'].iloc[0]}, {setting_label(ways, int(first['shots'].min()))}"
    total = first.assign(seconds=first["train_seconds"] + first["pretrain_seconds"])
    for cost, label in COSTS_OF_INTEREST:
        path = add(f"accuracy against {label}", f"cost-{cost}-{source}-{ways}w.svg")
        figures.cost_front(total, cost, f"{label} ({source} → {setting})", path)


def overview(rows: pd.DataFrame) -> dict[str, Any]:
    """Methods × settings of one source: ``**best**``, ``≈`` tied with it, in order of rank."""
    main = rows[rows["steps"] == -1]
    keys = list(dict.fromkeys(zip(main["target"], main["ways"], main["shots"], strict=True)))
    order = main.groupby("method").agg(
        transductive=("transductive", "first"), rank=("rank", "mean")
    )
    lines = []
    for method in order.sort_values(["transductive", "rank"]).index:
        mine = main[main["method"] == method].set_index(["target", "ways", "shots"])
        first = mine.iloc[0]
        lines.append(
            {
                "method": method,
                "family": first["family"],
                "scores": [_marked(mine.loc[key]) if key in mine.index else "–" for key in keys],
                "train": _train(first),
                "adapt": f"{first['adapt_ms']:.1f}",
            }
        )
    heads = [f"{target} {setting_label(ways, shots)}" for target, ways, shots in keys]
    accuracy = main["metric"].iloc[0] == "accuracy"
    return {"columns": heads, "rows": lines, "metric": "accuracy %" if accuracy else "MSE"}


def _marked(row: pd.Series) -> str:
    score = amount(row["mean"], row["half"], row["metric"])
    if row["rank"] == 1:
        return f"**{score}**"
    return f"≈ {score}" if row["tied"] else score


def _drops(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One table of drops for each target and setting."""
    if frame.empty:
        return []
    by_setting: Iterable[tuple[Any, pd.DataFrame]] = frame.groupby(BLOCK[1:], sort=False)
    return [
        {"target": target, "setting": setting_label(ways, shots), "rows": part.to_dict("records")}
        for (target, ways, shots), part in by_setting
    ]


def _block(key: Any, rows: pd.DataFrame, measured: Tables) -> dict[str, Any]:
    source, target, ways, shots = key
    main = rows[rows["steps"] == -1]
    accuracy = main["metric"].iloc[0] == "accuracy"
    fair = main[~main["transductive"].astype(bool)]
    tables = [{"title": "", "rows": _rows(fair)}]
    transductive = main[main["transductive"].astype(bool)]
    if len(transductive):
        title = "Transductive (queries are answered together; not comparable with the above):"
        tables.append({"title": title, "rows": _rows(transductive)})
    steps = sorted(rows.loc[rows["steps"] >= 0, "steps"].unique())
    by_steps, seeds = [], main.set_index("method")["seeds"]
    for method, part in rows[rows["steps"] >= 0].groupby("method"):
        scores = [
            amount(r["mean"], r["half"], r["metric"]) if r["seeds"] == seeds[method] else "diverges"
            for _, r in part.set_index("steps").reindex(steps).iterrows()
        ]
        by_steps.append({"method": method, "scores": scores})
    return {
        "target": target,
        "setting": setting_label(ways, shots),
        "anchor": anchor(source, target, f"{ways}w{shots}s"),
        "metric": "accuracy %" if accuracy else "mean squared error",
        "accuracy": accuracy,
        "tables": tables,
        "steps": steps,
        "by_steps": by_steps,
        "seeds": main["seeds"].max(),
        "episodes": main["episodes"].max(),
        "hash": main["episode_hash"].iloc[0][:12],
        "detectable": _detectable(key, fair, measured),
    }


def _detectable(key: Any, rows: pd.DataFrame, measured: Tables) -> str | None:
    if rows.empty:
        return None
    metric = rows["metric"].iloc[0]
    mine = {str(m): [sign_of(metric) * measured[key, m]] for m in rows["method"]}
    return detectable_difference(block_of_tables(mine, [1.0], rows), metric)


def _train(row: pd.Series) -> str:
    shared = f" (+{row['pretrain_seconds']:.0f})" if row["pretrain_seconds"] else ""
    return f"{row['train_seconds']:.0f}{shared}"


def _behind(row: pd.Series) -> str:
    """What the paired comparison with the best says."""
    if row["rank"] == 1:
        return "best"
    gap = amount(row["behind"], row["behind_half"], row["metric"])
    return f"≈ {gap}" if row["tied"] else f"{gap}, {p_text(row['p'])}"


def _rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in rows.iterrows():
        marks = [("T", row["transductive"]), ("E", row["external_pretraining"])]
        found.append(
            {
                "rank": row["rank"],
                "method": row["method"],
                "family": row["family"],
                "backbone": row["backbone"],
                "score": amount(row["mean"], row["half"], row["metric"]),
                "behind": _behind(row),
                "effect": f"{row['effect']:.2f}",
                "ece": f"{100 * row['ece']:.1f}",
                "train": _train(row),
                "tflop": f"{row['train_flops'] / 1e12:.3g}",
                "memory": f"{row['peak_memory_mb']:.0f}",
                "adapt": f"{row['adapt_ms']:.1f}",
                "flags": " ".join(mark for mark, on in marks if on),
            }
        )
    return found
