"""The open-set figure: how well confidence tells queries from examples of no class."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from metabench.reports.figures import COLOURS, save


def open_set_rows(records: pd.DataFrame) -> pd.DataFrame:
    """``setting``, ``method``, ``family``, mean ``auroc`` over sources and seeds, best first."""
    columns = ["setting", "method", "family"]
    measured = records[["method", "family", "open_set_auroc"]].itertuples(index=False, name=None)
    rows = [
        (setting, method, family, value)
        for method, family, by_setting in measured
        for setting, value in by_setting.items()
    ]
    frame = pd.DataFrame(rows, columns=[*columns, "auroc"])
    return frame.groupby(columns)["auroc"].mean().reset_index().sort_values("auroc")


def open_set_figure(records: pd.DataFrame, path: Path) -> None:
    """One panel a setting, one bar a method; nothing is written where nothing was measured."""
    if "open_set_auroc" not in records:
        return
    rows = open_set_rows(records[records["open_set_auroc"].notna()])
    if rows.empty:
        return
    panels = list(rows.groupby("setting"))
    height = 1.2 + 0.3 * rows["method"].nunique()
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), height), squeeze=False)
    for axis, (setting, part) in zip(axes[0], panels, strict=True):
        axis.barh(part["method"], part["auroc"], color=[COLOURS[f] for f in part["family"]])
        axis.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=str(setting), xlim=(0.4, 1), xlabel="AUROC, in scope vs. out of scope")
    figure.tight_layout()
    save(figure, path)
