"""Figures, legible on light and on dark pages: dark ink on a white card.

A board of few methods has them all in one panel; a larger one has a panel for each family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from metabench.files import atomic
from metabench.reports.scores import ORACLE
from metabench.reports.statistics.ranks import ENOUGH, Ranking

MARKERS = "osD^vP*X<>hp"
TOGETHER = 12
"""Methods that one panel can hold."""

COLOURS = {
    "optimisation": "#d95f02",
    "metric": "#1f83c9",
    "model": "#8e44ad",
    "feature": "#1b9e77",
    "parameter": "#b8860b",
    "hybrid": "#c2185b",
    "transductive": "#3f3fbf",
    "control": "#777777",
}
SHADES = plt.get_cmap("tab10").colors


def save(figure: plt.Figure, path: Path) -> None:
    """Write ``figure`` as SVG without dates, so that equal numbers give equal files."""
    with (
        atomic(path) as temporary,
        plt.rc_context({"svg.hashsalt": "metabench", "svg.fonttype": "none"}),
    ):
        figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def styles(summary: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Colour by family on a small board, by method within its panel on a large one."""
    found: dict[str, dict[str, object]] = {}
    small = summary["method"].nunique() <= TOGETHER
    for family, rows in summary.groupby("family"):
        for i, method in enumerate(sorted(rows["method"].unique())):
            found[method] = {
                "color": COLOURS[str(family)] if small else SHADES[i % len(SHADES)],
                "marker": MARKERS[i % len(MARKERS)],
                "linestyle": "--" if family == "control" else "-",
            }
    return found


def panels(rows: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Title and methods of each panel."""
    methods = rows[["method", "family"]].drop_duplicates()
    if len(methods) <= TOGETHER:
        return [("", sorted(methods["method"]))]
    return [
        (family, sorted(methods.loc[methods["family"] == family, "method"]))
        for family in COLOURS
        if (methods["family"] == family).any()
    ]


def _grid(count: int, columns: int, width: float, height: float) -> tuple[plt.Figure, list]:
    """``count`` axes that share both scales, the spare ones removed."""
    lines = math.ceil(count / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(width * columns, height * lines), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def _legend_below(axis: plt.Axes) -> None:
    axis.legend(
        fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.08),
        columnspacing=1,
    )  # fmt: skip


def accuracy_against_shots(summary: pd.DataFrame, path: Path) -> None:
    """Mean and interval as a function of shots, a row of panels for each target.

    Args:
        summary: rows of one source and one number of ways, main steps only.
    """
    style, source = styles(summary), summary["source"].iloc[0]
    targets, parts = list(summary["target"].unique()), panels(summary)
    cells = [(target, part) for target in targets for part in parts]
    columns = len(targets) if len(parts) == 1 else min(4, len(parts))
    figure, axes = _grid(len(cells), columns, 4.4 if len(parts) == 1 else 3.3, 3.6)
    for axis, (target, (family, methods)) in zip(axes, cells, strict=True):
        rows = summary[summary["target"] == target]
        for i, method in enumerate(methods):
            line = rows[rows["method"] == method].sort_values("shots")
            shift = 1 + 0.015 * (i - len(methods) / 2)  # intervals stay apart
            axis.errorbar(
                line["shots"] * shift, line["mean"], yerr=line["half"], label=method,
                capsize=2, markersize=5, linewidth=1.3, **style[method],
            )  # fmt: skip
        axis.set_xscale("log")
        shots = sorted(summary["shots"].unique())
        axis.set_xticks(shots, [str(s) for s in shots])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        domain = "in-domain" if target == source else "cross-domain"
        where = f"{source} → {target} ({domain})"
        axis.set_title(f"{where}\n{family}" if family else where, fontsize=9)
        if family:
            _legend_below(axis)
    ways = summary["ways"].iloc[0]
    figure.supxlabel("shots" if ways else "support points", fontsize=10)
    figure.supylabel(f"accuracy, {ways}-way" if ways else "mean squared error", fontsize=10)
    if not ways:
        axes[0].set_yscale("log")
        if ORACLE in style:  # 1e-12 on the axis would press all others into one line
            others = summary.loc[summary["method"] != ORACLE, "mean"]
            axes[0].set_ylim(others.min() / 2, others.max() * 2)
    if len(parts) == 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    save(figure, path)


def best_of_n(curves: Mapping[str, np.ndarray], families: Mapping[str, str], path: Path) -> None:
    """Expected best score as a function of the number of trials, a line a method.

    Args:
        curves: by method, the scores after 1, 2, … trials.
        families: of the methods.
    """
    rows = pd.DataFrame([(m, families[m]) for m in curves], columns=["method", "family"])
    style, parts = styles(rows), panels(rows)
    figure, axes = _grid(len(parts), min(4, len(parts)), 5.2 if len(parts) == 1 else 3.3, 3.6)
    for axis, (family, methods) in zip(axes, parts, strict=True):
        for method in methods:
            trials = np.arange(1, len(curves[method]) + 1)
            look = style[method] | {"marker": None}
            axis.plot(trials, curves[method], label=method, linewidth=1.3, **look)
        axis.set_xscale("log", base=2)
        ticks = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= max(map(len, curves.values()))]
        axis.set_xticks(ticks, [str(n) for n in ticks])
        axis.grid(alpha=0.3)
        axis.set_title(family, fontsize=9)
        _legend_below(axis)
    figure.supxlabel("trials", fontsize=10)
    figure.supylabel("expected best score on val (accuracy, or −error)", fontsize=10)
    save(figure, path)


def score_against(rows: pd.DataFrame, column: str, label: str, path: Path) -> None:
    """Mean and interval as a function of a budget, a panel for each target and number of shots.

    Lines interpolate between what was measured, on a logarithmic scale. A method for which the
    budget is always zero is a level line.

    Args:
        rows: of one source and one number of ways at several levels, main steps only.
        column: of the budget.
    """
    style, parts = styles(rows), panels(rows)
    places = list(rows[["target", "shots"]].drop_duplicates().itertuples(index=False, name=None))
    cells = [(place, part) for place in places for part in parts]
    figure, axes = _grid(len(cells), min(4, len(cells)), 3.6, 3.6)
    for axis, ((target, shots), (family, methods)) in zip(axes, cells, strict=True):
        here = rows[(rows["target"] == target) & (rows["shots"] == shots)]
        for method in methods:
            line = here[here["method"] == method].sort_values(column)
            if (line[column] <= 0).any():
                colour = style[method]["color"]
                axis.axhline(line["mean"].iloc[0], color=colour, linestyle=":", label=method)
                continue
            axis.errorbar(
                line[column], line["mean"], yerr=line["half"], label=method, capsize=2,
                markersize=5, linewidth=1.3, **style[method],
            )  # fmt: skip
        axis.set_xscale("log")
        if column == "train_flops":  # a level costs each method something else
            axis.xaxis.set_major_locator(LogLocator(numticks=4))
            axis.xaxis.set_minor_formatter(NullFormatter())
        else:
            ticks = sorted(here.loc[here[column] > 0, column].unique())
            axis.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks], fontsize=7)
            axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
        where = f"{rows['source'].iloc[0]} → {target}, {shots} shot{'s' if shots != 1 else ''}"
        axis.set_title(f"{where}\n{family}" if family else where, fontsize=9)
        if family:
            _legend_below(axis)
    if rows["metric"].iloc[0] != "accuracy":
        axes[0].set_yscale("log")
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("accuracy" if rows["ways"].iloc[0] else "mean squared error", fontsize=10)
    if len(parts) == 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    save(figure, path)


def pareto(rows: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows for which nothing that costs no more is better, cheapest first."""
    ordered = rows.sort_values([cost, "mean"], ascending=[True, False])
    return ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=-math.inf)]


def cost_front(summary: pd.DataFrame, cost: str, label: str, path: Path) -> None:
    """Score against a cost, with the Pareto front (nothing cheaper is better) drawn through it.

    Transductive methods are shown, but are not in the front. A large board names the front and the
    best of each family.

    Args:
        summary: rows of one block, main steps only; accuracy.
        cost: column with the cost.
    """
    figure, axis = plt.subplots(figsize=(8, 4.8), layout="constrained")
    rows = summary.assign(cost=summary[cost].clip(lower=1e-2))
    front = pareto(rows[~rows["transductive"].astype(bool)], "cost")
    axis.step(front["cost"], front["mean"], where="post", color="#444444", linewidth=1)
    best = rows.loc[rows.groupby("family")["mean"].idxmax(), "method"]
    named = set(front["method"]) | set(best) if len(rows) > TOGETHER else set(rows["method"])
    taken: list[tuple[float, float]] = []
    for row in rows.sort_values("mean", ascending=False).to_dict("records"):
        colour = COLOURS[row["family"]]
        axis.errorbar(
            row["cost"], row["mean"], yerr=row["half"], capsize=2, color=colour, marker="o",
            markersize=5, alpha=1 if row["method"] in named else 0.45,
        )  # fmt: skip
        if row["method"] in named:
            offset = _free(taken, math.log10(row["cost"]), row["mean"])
            axis.annotate(
                row["method"], (row["cost"], row["mean"]), textcoords="offset points",
                xytext=(6, offset), fontsize=8, color=colour,
                fontweight="bold" if row["method"] in set(front["method"]) else "normal",
            )  # fmt: skip
    for family in [f for f in COLOURS if (rows["family"] == f).any()]:
        axis.plot([], [], "o", color=COLOURS[family], label=family)
    axis.legend(fontsize=8, frameon=False, bbox_to_anchor=(1, 0.5), loc="center left")
    axis.set_xscale("log")
    axis.margins(x=0.12)
    axis.set_xlabel(label)
    axis.set_ylabel("accuracy")
    axis.grid(alpha=0.3)
    save(figure, path)


def _free(taken: list[tuple[float, float]], x: float, y: float) -> int:
    """Points to shift a label up or down, so that labels at nearly one place do not overlap."""
    near = sum(abs(x - a) < 0.6 and abs(y - b) < 0.03 for a, b in taken)
    taken.append((x, y))
    return 4 if near == 0 else -11 * near if near % 2 else 4 + 6 * near


def heatmap(summary: pd.DataFrame, path: Path) -> None:
    """Generalisation: accuracy of every method (rows, by family) on every source → target.

    Args:
        summary: rows of one number of ways, main steps only; accuracy.
    """
    order = [f for f in COLOURS if (summary["family"] == f).any()]
    column = summary["source"] + "\n→ " + summary["target"] + "\n" + summary["shots"].astype(str)
    table = summary.assign(column=column + "-shot")
    columns = list(
        table.sort_values(["source", "cross", "target", "shots"])["column"].drop_duplicates()
    )
    values = table.pivot(index=["family", "method"], columns="column", values="mean")[columns]
    values = values.assign(mean=values.mean(axis=1))
    values = pd.concat([values.loc[[f]].sort_values("mean", ascending=False) for f in order])
    values = values[columns]
    figure, axis = plt.subplots(
        figsize=(2.6 + 1.2 * len(columns), 1.4 + 0.26 * len(values)), layout="constrained"
    )
    image = axis.imshow(values, aspect="auto", cmap="viridis")
    middle = sum(image.get_clim()) / 2
    for i, row in enumerate(values.to_numpy()):
        for j, value in enumerate(row):
            if not math.isnan(value):
                ink = "black" if value > middle else "white"
                axis.text(
                    j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=8, color=ink
                )
    axis.set_xticks(range(len(columns)), columns, fontsize=8)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(values)), [m for _, m in values.index], fontsize=8)
    for tick, (family, _) in zip(axis.get_yticklabels(), values.index, strict=True):
        tick.set_color(COLOURS[family])
    sizes = [len(values.loc[[f]]) for f in order]
    for edge in pd.Series(sizes).cumsum()[:-1]:
        axis.axhline(edge - 0.5, color="white", linewidth=2)
    save(figure, path)


def average_ranks(found: Ranking, families: dict[str, str], path: Path) -> None:
    """Average ranks over units, with Nemenyi's critical difference as a band from the best.

    Two methods differ when their ranks are further apart than the band is wide. With too few units
    there is no band.
    """
    ranks, critical = found.ranks, found.critical_difference
    figure, axis = plt.subplots(figsize=(7, 1.3 + 0.24 * len(ranks)), layout="constrained")
    if critical is not None:
        best = float(ranks.iloc[0])
        axis.axvspan(best, best + critical, color="#000000", alpha=0.08, linewidth=0)
    for i, (method, rank) in enumerate(ranks.items()):
        colour = COLOURS[families[str(method)]]
        axis.plot([0.5, rank], [i, i], color=colour, linewidth=0.8, alpha=0.4)
        axis.plot(rank, i, "o", color=colour, markersize=6)
        axis.annotate(
            f"{rank:.1f}", (rank, i), textcoords="offset points", xytext=(6, -3), fontsize=7
        )
    axis.set_yticks(range(len(ranks)), list(ranks.index), fontsize=8)
    for tick in axis.get_yticklabels():
        tick.set_color(COLOURS[families[tick.get_text()]])
    axis.invert_yaxis()
    axis.set_xlim(0.5, 1.06 * len(ranks) + 0.5)
    axis.set_xlabel(f"average rank (1 is best) over {found.units} units, each a source and a seed")
    axis.set_title(
        f"too few units for a critical difference (it takes {ENOUGH})"
        if critical is None
        else f"band: critical difference {critical:.2f} (Nemenyi, 0.05)",
        fontsize=9,
    )
    axis.grid(alpha=0.3, axis="x")
    save(figure, path)


def reliability_diagram(bins: pd.DataFrame, title: str, path: Path) -> None:
    """Accuracy against confidence by bin: below the diagonal a method is too sure of itself.

    Args:
        bins: rows of one block (``summary.reliability``); bins of under 0.5 % are not drawn.
    """
    parts = panels(bins)
    figure, axes = _grid(len(parts), min(4, len(parts)), 4.4 if len(parts) == 1 else 3.1, 3.4)
    style = styles(bins)
    for axis, (family, methods) in zip(axes, parts, strict=True):
        axis.plot([0, 1], [0, 1], color="#444444", linewidth=1)
        for method in methods:
            line = bins[bins["method"] == method]
            line = line[line["count"] >= 0.005 * line["count"].sum()]
            axis.plot(
                line["mean_confidence"], line["accuracy"], label=method, markersize=4,
                linewidth=1.2, **style[method],
            )  # fmt: skip
        axis.set_title(family or title.replace(" on ", "\non "), fontsize=9)
        axis.grid(alpha=0.3)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        if family:
            _legend_below(axis)
    if len(parts) > 1:
        figure.suptitle(title, fontsize=10)
    else:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.supxlabel("confidence", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    save(figure, path)
