"""``index.html``: one self-contained page with a table to sort and filter, and the figures."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from metabench.files import write_text
from metabench.pipeline.results import LEVEL
from metabench.reports.camps import CAMPS
from metabench.reports.levels import level_label
from metabench.reports.machines import mixed
from metabench.reports.summary import setting_label
from metabench.reports.words import span, would_decide
from metabench.shown import visible

COLUMNS = [
    ("source", "source"),
    ("target", "target"),
    ("setting", "setting"),
    ("method", "method"),
    ("family", "family"),
    ("camp", "camp"),
    ("rank", "rank"),
    ("mean", "score"),
    ("half", "± 95 %"),
    ("verdict", "verdict"),
    ("behind", "behind by"),
    ("between", "95 % interval"),
    ("needs", "data to decide"),
    ("ece", "ECE %"),
    ("train_seconds", "train s"),
    ("pretrain_seconds", "pretrain s"),
    ("train_flops", "train FLOP"),
    ("peak_memory_mb", "memory MB"),
    ("adapt_ms", "adapt ms"),
    ("adapt_flops", "adapt FLOP"),
]
FILTERS = ["source", "target", "setting", "family", "camp", "verdict"]


def write_page(
    summary: pd.DataFrame,
    figures: list[dict[str, str]],
    tested: list[dict[str, Any]],
    folder: Path,
    meta: dict[str, Any],
) -> None:
    """Write ``folder/index.html``; nothing in it is loaded from elsewhere.

    Args:
        summary: of all sources, at all their levels.
        figures: ``title`` and ``file`` of each.
        tested: the blocks that have a test between the camps' champions.
    """
    rows = summary[summary["steps"] == -1].copy()
    rows["setting"] = [
        setting_label(ways, shots) for ways, shots in zip(rows["ways"], rows["shots"], strict=True)
    ]
    columns, filters = [*COLUMNS], [*FILTERS]
    if (
        LEVEL[0] in rows
        and len(rows[["source", *LEVEL]].drop_duplicates()) > rows["source"].nunique()
    ):
        rows["budget"] = [
            level_label(*level) for level in rows[LEVEL].itertuples(index=False, name=None)
        ]
        columns.insert(3, ("budget", "budget"))
        filters.insert(3, "budget")
    accuracy = rows["metric"] == "accuracy"
    rows["between"] = [
        span(low, high, metric)
        for low, high, metric in zip(
            rows["behind_low"], rows["behind_high"], rows["metric"], strict=True
        )
    ]
    rows["needs"] = [
        would_decide(row) if row["verdict"] == "undecided" else ""
        for row in rows.to_dict("records")
    ]
    first = rows["verdict"] == "best"
    rows["between"], rows["behind"] = rows["between"].mask(first, ""), rows["behind"].mask(first)
    for name in ("mean", "half", "behind", "ece"):
        rows[name] = rows[name].where(~accuracy, 100 * rows[name])
    rows["family"] = rows["family"].where(
        ~rows["transductive"].astype(bool) | (rows["family"] == "transductive"),
        rows["family"] + " (T)",
    )
    rows["verdict"] = rows["verdict"].fillna("–")
    for name in ("source", "target", "method", "family"):
        rows[name] = rows[name].map(visible)
    data = json.loads(
        rows[[name for name, _ in columns]].to_json(orient="values", double_precision=6)
    )
    drawn = [
        figure | {"svg": _inline(folder / "figures" / figure["file"], figure["title"])}
        for figure in figures
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metabench.reports", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    environment.filters["shown"] = visible
    page = environment.get_template("index.html.j2").render(
        meta=meta,
        costs=mixed(rows),
        figures=drawn,
        camps=[camp for camp in CAMPS if any(camp in block["camps"] for block in tested)],
        tested=tested,
        # "</script>" in a name must not end the script
        data=json.dumps({"columns": columns, "rows": data, "filters": filters}).replace(
            "<", "\\u003c"
        ),
    )
    write_text(folder / "index.html", page + "\n")


def _inline(path: Path, title: str) -> str:
    """The ``<svg>`` element of a figure, with a name for screen readers."""
    text = path.read_text(encoding="utf-8")
    label = html.escape(visible(title))
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
