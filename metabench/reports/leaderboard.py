"""The leaderboard of a profile: markdown, csv, figures, guide and page, from results alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from metabench.config import setting_label as form_label
from metabench.files import atomic, write_text
from metabench.pipeline.results import LEVEL, VAL
from metabench.reports import figures, for_dvc
from metabench.reports.camps import (
    CAMPS,
    Validation,
    compare_camps,
    form_for,
    rests_on,
    validation_of,
)
from metabench.reports.guide import guide
from metabench.reports.levels import at_main, at_others, level_label, levels_in
from metabench.reports.machines import mixed
from metabench.reports.open_set import open_set_figure
from metabench.reports.page import write_page
from metabench.reports.scores import BLOCK, ORACLE, Blocks, blocks_of, condense
from metabench.reports.searches import searches
from metabench.reports.statistics.ranks import ranking, unit_ranks
from metabench.reports.statistics.search import TRIALS
from metabench.reports.stored import store, stored
from metabench.reports.summary import (
    by_other_rules,
    generalisation,
    label_need,
    reliability,
    setting_label,
    summarise,
    without_seen,
)
from metabench.reports.words import amount, points, score, stands, would_decide
from metabench.shown import markdown

COSTS_OF_INTEREST = (
    ("seconds", "seconds to train, including pretraining"),
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
    rules = sorted(results["selection"].unique(), key=(VAL, "support", "oracle").index)
    scores = [condense(results, rule) for rule in rules]
    store(pd.concat(scores, ignore_index=True), costs, folder, meta)
    return write_stored(folder)


def write_stored(folder: Path) -> pd.DataFrame:
    """Write the reports of the scores that are stored in ``folder``; returns their summary.

    Raises:
        InputError: there are none, or damaged ones.
    """
    whole, records, meta = stored(folder)
    every, costs = at_main(whole), at_main(records)
    scores = every[every["selection"] == VAL]
    elsewhere = at_others(whole[whole["selection"] == VAL], records)
    others = by_other_rules(every, costs)
    blocks, bins, validation = blocks_of(scores, costs), reliability(scores), validation_of(costs)
    summary = summarise(scores, costs, blocks).assign(profile=meta["profile"])
    for stale in (folder / "figures").glob("*.svg"):
        stale.unlink()
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    common = _across(summary, blocks, folder)
    sources = [
        _source(name, rows, blocks, bins, validation.get(str(name), {}), others, folder)
        | {"levels": _levels(elsewhere, name), "main": _main_label(rows)}
        for name, rows in summary.groupby("source", sort=False)
    ]
    budgets = pd.concat([summary, elsewhere], ignore_index=True) if len(elsewhere) else summary
    if len(elsewhere):
        common += _budget_figures(budgets, folder)
    papers = sorted(set(zip(summary["method"], summary["paper"], strict=True)))
    calibrated = bool(summary["temperature"].notna().any())
    _render(
        "leaderboard.md", folder, meta=meta, sources=sources, papers=papers, common=common,
        calibrated=calibrated, effort=bool(summary["outer_steps"].notna().any()),
        seen="seen" in summary, searched=bool(summary["trials"].notna().any()),
    )  # fmt: skip
    _render("decision_guide.md", folder, meta=meta, situations=guide(summary, blocks, validation))
    with atomic(folder / "leaderboard.csv") as temporary:
        parts = [summary, *(part for part in (elsewhere, others) if len(part))]
        board = pd.concat(parts, ignore_index=True).assign(profile=meta["profile"])
        board.to_csv(temporary, index=False, float_format="%.6g")
    _searches(folder, meta)
    for_dvc.write_metrics(summary, folder / "metrics.json")
    for_dvc.write_shots(summary, folder / "shots.csv")
    open_set_figure(costs, folder / "figures/open_set.svg")
    drawn = common + [figure for source in sources for figure in source["figures"]]
    tested = [
        block | {"source": source["name"]}
        for source in sources
        for block in source["blocks"]
        if block["champions"] and not block["seen"]
    ]
    write_page(budgets, drawn, tested, folder, meta)
    return summary


def _main_label(rows: pd.DataFrame) -> str:
    """The budget of a source's tables, where the board knows it."""
    return level_label(*rows[LEVEL].iloc[0]) if LEVEL[0] in rows else ""


def _levels(elsewhere: pd.DataFrame, source: Any) -> list[dict[str, Any]]:
    """The overviews of a source's other levels."""
    if elsewhere.empty:
        return []
    mine = elsewhere[elsewhere["source"] == source]
    groups: Iterable[tuple[Any, pd.DataFrame]] = mine.groupby(LEVEL)
    return [{"label": level_label(*level), "overview": overview(rows)} for level, rows in groups]


def _budget_figures(budgets: pd.DataFrame, folder: Path) -> list[dict[str, str]]:
    """Scores against what learners may spend: examples, operations, classes of the source."""
    found = []
    main = budgets[budgets["steps"] == -1]
    groups: Iterable[tuple[Any, pd.DataFrame]] = main.groupby(["source", "ways"], sort=False)
    for (source, ways), rows in groups:
        most, first = rows["source_classes"].max(), levels_in(rows)[source][0]
        full = rows[rows["source_classes"] == most]
        same = rows[rows["examples_budget"] == first.examples]
        for part, column, name in (
            (full, "examples_budget", "source examples"),
            (full, "train_flops", "training FLOP"),
            (same, "source_classes", "share of the source's classes"),
        ):
            if part[column].nunique() > 1 and len(part[LEVEL].drop_duplicates()) > 1:
                file = f"budget-{column.replace('_', '-')}-{source}-{ways}w.svg"
                figures.score_against(part, column, name, folder / "figures" / file)
                found.append({"title": f"{source}: score as a function of {name}", "file": file})
    return found


def _searches(folder: Path, meta: dict[str, Any]) -> None:
    """The page of the board's studies, where there are any."""
    found = searches(folder)
    if not found:
        (folder / "search.md").unlink(missing_ok=True)
        return
    for one in found:
        path = folder / "figures" / f"search-{anchor(one['source'])}.svg"
        figures.best_of_n(one["curves"], one["families"], path)
    _render("search.md", folder, meta=meta, searches=found, trials=(1, *TRIALS))


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


def _across(summary: pd.DataFrame, blocks: Blocks, folder: Path) -> list[dict[str, str]]:
    """Figures over all sources: generalisation and ranks."""
    main, found = summary[(summary["steps"] == -1)], []
    for ways, part in main[main["metric"] == "accuracy"].groupby("ways"):
        if len(part[["source", "target"]].drop_duplicates()) > 1:
            file = f"generalisation-{ways}w.svg"
            figures.heatmap(part, folder / "figures" / file)
            found.append(
                {"title": f"Accuracy (%) for each source and target, {ways}-way", "file": file}
            )
    families = dict(zip(summary["method"], summary["family"], strict=True))
    fair = without_seen(main)
    fair = fair[~fair["transductive"].astype(bool)]
    for name, part in (
        ("classification", fair[fair["metric"] == "accuracy"]),
        ("regression", fair[fair["metric"] != "accuracy"]),
    ):
        units = [
            unit_ranks([block.only(set(mine["method"])) for key, block in blocks.items()
                        if key in set(mine[BLOCK].itertuples(index=False, name=None))])
            for _, mine in part.groupby("source")
        ]  # fmt: skip
        table = pd.concat(units, join="inner") if units else pd.DataFrame()
        if table.shape[1] >= 3:
            file = f"ranks-{name}.svg"
            figures.average_ranks(ranking(table), families, folder / "figures" / file)
            found.append({"title": f"Average ranks, {name}", "file": file})
    return found


def _source(
    name: Any,
    rows: pd.DataFrame,
    measured: Blocks,
    bins: pd.DataFrame,
    validation: Validation,
    others: pd.DataFrame,
    folder: Path,
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
            figures.accuracy_against_shots(part, add("score as a function of shots", file))
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
    blocks = [
        _block(key, block) | _camps(key, block, measured, validation) | _rules(key, block, others)
        for key, block in rows.groupby(BLOCK, sort=False)
    ]
    return {
        "name": name,
        "figures": found,
        "blocks": blocks,
        "backbones": main["backbone"].nunique(),
        "overview": overview(rows),
        "need": label_need(rows, measured).to_dict("records"),
        "drops": _drops(generalisation(rows, measured)),
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
        path = add(f"accuracy as a function of {label}", f"cost-{cost}-{source}-{ways}w.svg")
        figures.cost_front(total, cost, f"{label} ({source} → {setting})", path)


def overview(rows: pd.DataFrame) -> dict[str, Any]:
    """Methods × settings of one source, in order of rank, each score with its verdict.

    The best is bold; what is behind it has no mark. The oracle's scores are in brackets.
    """
    main = rows[rows["steps"] == -1]
    keys = list(dict.fromkeys(zip(main["target"], main["ways"], main["shots"], strict=True)))
    order = main.groupby("method").agg(
        transductive=("transductive", "first"), rank=("rank", "mean")
    )
    lines = []
    order["bound"] = order.index == ORACLE
    for method in order.sort_values(["transductive", "bound", "rank"]).index:
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
    metric = "accuracy %" if accuracy else "MSE"
    return {"columns": heads, "rows": lines, "metric": metric, "costs": mixed(main)}


def _marked(row: pd.Series) -> str:
    score = amount(row["mean"], row["half"], row["metric"])
    if row["verdict"] == "best":
        return f"**{score}**"
    if row["method"] == ORACLE:
        return f"({score})"
    return f"{score} {row['verdict']}" if row["verdict"] in ("tied", "undecided") else score


def _drops(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One table of drops for each target and setting."""
    if frame.empty:
        return []
    by_setting: Iterable[tuple[Any, pd.DataFrame]] = frame.groupby(BLOCK[1:])
    return [
        {"target": target, "setting": setting_label(ways, shots), "rows": part.to_dict("records")}
        for (target, ways, shots), part in by_setting
    ]


TITLES = {
    "fair": "",
    "transductive": "Transductive (all queries of a task at once), compared among themselves:",
    "oracle": "The oracle knows the formula of the tasks, so no method is compared with it:",
}


def _block(key: Any, rows: pd.DataFrame) -> dict[str, Any]:
    source, target, ways, shots = key
    main = rows[rows["steps"] == -1]
    accuracy = main["metric"].iloc[0] == "accuracy"
    kind = main["transductive"].astype(bool).map({True: "transductive", False: "fair"})
    kind = kind.mask(main["method"] == ORACLE, "oracle")
    tables = [
        {"title": title, "rows": _rows(peers), "says": _says(peers)}
        for name, title in TITLES.items()
        if len(peers := main[kind == name])
    ]
    steps = sorted(rows.loc[rows["steps"] >= 0, "steps"].unique())
    by_steps, seeds = [], main.set_index("method")["seeds"]
    for method, part in rows[rows["steps"] >= 0].groupby("method"):
        scores = [
            amount(r["mean"], r["half"], r["metric"]) if r["seeds"] == seeds[method] else "diverges"
            for _, r in part.set_index("steps").reindex(steps).iterrows()
        ]
        by_steps.append({"method": method, "scores": scores})
    label = form_label(ways, shots)
    return {
        "target": target,
        "setting": setting_label(ways, shots),
        "fitted_on": sorted(set(main["fitted_on"].dropna()) - {label}),
        "seen": sorted(main.loc[main["seen"], "method"]) if "seen" in main else [],
        "uncalibrated": sorted(main.loc[main["temperature"].isna() & accuracy, "method"]),
        "anchor": anchor(source, target, f"{ways}w{shots}s"),
        "metric": "accuracy %" if accuracy else "mean squared error",
        "costs": mixed(main),
        "accuracy": accuracy,
        "tables": tables,
        "steps": steps,
        "by_steps": by_steps,
        "seeds": main["seeds"].max(),
        "splits": main["splits"].max() if "splits" in main else 1,
        "episodes": main["episodes"].max(),
        "hash": main["episode_hash"].iloc[0][:12],
        "effort": main["outer_steps"].notna().any(),
        "searched": main["trials"].notna().any(),
        "detectable": points(main["detectable"].iloc[0], main["metric"].iloc[0]),
    }


def _camps(
    key: Any, rows: pd.DataFrame, measured: Blocks, validation: Validation
) -> dict[str, Any]:
    """The test between the champions of the camps, and the ways of the episodes that chose them."""
    _, _, ways, shots = key
    fair = rows[(rows["steps"] == -1) & ~rows["transductive"].astype(bool)]
    form = form_for(validation, ways, shots)
    if form is None or key not in measured:
        return {"champions": []}
    scores = {m: found[form] for m, found in validation.items() if form in found}
    camps = dict(zip(fair["method"], fair["camp"], strict=True))
    tests = compare_camps(measured[key], scores, camps, rows["metric"].iloc[0])
    there = [camp for camp in CAMPS if tests and camp in tests[0]]
    fewer = form if ways and not form.startswith(f"{ways}w") else ""
    rests = rests_on(tests) if tests else ""
    return {"champions": tests, "camps": there, "chosen_on": fewer, "rests_on": rests}


def _rules(key: Any, rows: pd.DataFrame, others: pd.DataFrame) -> dict[str, Any]:
    """Scores of one block by the rule that chose adaptation settings, where there are several."""
    if others.empty:
        return {"rules": [], "by_rule": []}
    mine = others[(others[BLOCK] == pd.Series(dict(zip(BLOCK, key, strict=True)))).all(axis=1)]
    main = rows[(rows["steps"] == -1) & rows["method"].isin(mine["method"])]
    both, lines = pd.concat([main, mine]), []
    rules = list(dict.fromkeys(both["selection"]))
    for method in main["method"]:
        by_rule = both[both["method"] == method].set_index("selection")
        scores = [
            amount(by_rule.at[rule, "mean"], by_rule.at[rule, "half"], by_rule["metric"].iloc[0])
            if rule in by_rule.index
            else ""
            for rule in rules
        ]
        lines.append({"method": method, "scores": scores})
    return {"rules": rules, "by_rule": lines}


def _says(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The methods by verdict, what is undecided with the data that would decide."""
    found: dict[str, list[str]] = {"best": [], "tied": [], "undecided": [], "behind": []}
    for _, row in rows[rows["verdict"].notna()].iterrows():
        needs = f" ({would_decide(row)})" if row["verdict"] == "undecided" else ""
        found[row["verdict"]].append(markdown(row["method"]) + needs)
    return found


def _train(row: pd.Series) -> str:
    shared = f" (+{row['pretrain_seconds']:.0f})" if row["pretrain_seconds"] else ""
    return f"{row['train_seconds']:.0f}{shared}"


def _verdict(row: pd.Series) -> str:
    if not isinstance(row["verdict"], str):
        return "–"
    said = stands(row["verdict"], row["behind_low"], row["behind_high"], row["metric"])
    return f"**{said}**" if said == "best" else said


def _count(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.0f}"


def _rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in rows.iterrows():
        marks = [("T", row["transductive"]), ("E", row["external_pretraining"])]
        marks += [("S", row.get("seen", False))]
        found.append(
            {
                "rank": row["rank"],
                "method": row["method"],
                "family": row["family"],
                "backbone": row["backbone"],
                "score": score(row),
                "verdict": _verdict(row),
                "ece": f"{100 * row['ece']:.1f}",
                "train": _train(row),
                "outer_steps": _count(row["outer_steps"]),
                "adaptation_steps": _count(row["adaptation_steps"]),
                "search": f"{_count(row['searched'])} × {_count(row['trials'])}",
                "tflop": f"{row['train_flops'] / 1e12:.3g}",
                "memory": f"{row['peak_memory_mb']:.0f}",
                "adapt": f"{row['adapt_ms']:.1f}",
                "flags": " ".join(mark for mark, on in marks if on),
            }
        )
    return found
