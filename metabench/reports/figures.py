"""Figures, legible on light and on dark pages: dark ink on a white card."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from metabench.files import atomic

MARKERS = "osD^vP*X<>hp"
COLOURS = {
    "optimisation": "#d95f02",
    "metric": "#1b6ca8",
    "model": "#7a4fbf",
    "feature": "#1b9e77",
    "parameter": "#b8860b",
    "hybrid": "#c2185b",
    "transductive": "#008b9a",
    "control": "#777777",
}


def save(figure: plt.Figure, path: Path) -> None:
    """Write ``figure`` as SVG without dates, so that equal numbers give equal files."""
    with atomic(path) as temporary, plt.rc_context({"svg.hashsalt": "metabench"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def styles(summary: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Colour by family, marker by method within its family; controls are dashed."""
    found = {}
    for family, rows in summary.groupby("family"):
        for i, method in enumerate(sorted(rows["method"].unique())):
            found[method] = {
                "color": COLOURS[str(family)],
                "marker": MARKERS[i % len(MARKERS)],
                "linestyle": "--" if family == "control" else "-",
            }
    return found


def accuracy_against_shots(summary: pd.DataFrame, path: Path) -> None:
    """Label need: mean and interval against shots, one panel a target.

    Args:
        summary: rows of one source and one number of ways, main steps only.
    """
    targets = list(summary["target"].unique())
    figure, axes = plt.subplots(
        1, len(targets), figsize=(4.6 * len(targets) + 2.2, 4.2), sharey=True, squeeze=False
    )
    style = styles(summary)
    source = summary["source"].iloc[0]
    for axis, target in zip(axes[0], targets, strict=True):
        rows = summary[summary["target"] == target]
        for i, (method, line) in enumerate(rows.groupby("method")):
            line = line.sort_values("shots")
            shift = 1 + 0.01 * (i - rows["method"].nunique() / 2)  # intervals stay apart
            axis.errorbar(
                line["shots"] * shift,
                line["mean"],
                yerr=line["half"],
                label=method,
                capsize=2,
                markersize=5,
                linewidth=1.3,
                **style[str(method)],
            )
        axis.set_xscale("log")
        shots = sorted(rows["shots"].unique())
        axis.set_xticks(shots, [str(s) for s in shots])
        axis.minorticks_off()
        axis.set_xlabel("shots" if rows["ways"].iloc[0] else "support points")
        axis.grid(alpha=0.3)
        domain = "in-domain" if target == source else "cross-domain"
        axis.set_title(f"{source} → {target} ({domain})", fontsize=10)
    ways = summary["ways"].iloc[0]
    if ways:
        axes[0][0].set_ylabel(f"accuracy, {ways}-way")
    else:
        axes[0][0].set_ylabel("mean squared error")
        axes[0][0].set_yscale("log")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 1 - 1.9 / figure.get_figwidth(), 1))
    save(figure, path)


def cost_front(summary: pd.DataFrame, cost: str, label: str, path: Path) -> None:
    """Score against a cost, with the Pareto front (nothing cheaper is better) drawn through it.

    Args:
        summary: rows of one block, main steps only; accuracy.
        cost: column with the cost.
    """
    figure, axis = plt.subplots(figsize=(7.2, 4.4))
    rows = summary.assign(cost=summary[cost].clip(lower=1e-2)).sort_values(["cost", "mean"])
    front = rows[rows["mean"] > rows["mean"].cummax().shift(fill_value=-1.0)]
    axis.plot(front["cost"], front["mean"], color="#444444", linewidth=1)
    style = styles(summary)
    for row in rows.to_dict("records"):
        look = style[row["method"]]
        axis.errorbar(
            row["cost"],
            row["mean"],
            yerr=row["half"],
            capsize=2,
            color=look["color"],
            marker=look["marker"],
        )
        axis.annotate(
            row["method"],
            (row["cost"], row["mean"]),
            textcoords="offset points",
            xytext=(6, 4),
            fontsize=8,
            fontweight="bold" if row["method"] in set(front["method"]) else "normal",
        )
    axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.set_xlabel(label)
    axis.set_ylabel("accuracy")
    axis.grid(alpha=0.3)
    figure.tight_layout()
    save(figure, path)
