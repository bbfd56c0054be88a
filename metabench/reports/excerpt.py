"""The excerpt of a leaderboard in both READMEs: made from ``leaderboard.csv``, so never stale."""

from __future__ import annotations

import re
from pathlib import Path

from metabench.files import InputError, write_text
from metabench.reports.leaderboard import overview
from metabench.reports.reproduction import read_board
from metabench.shown import markdown

START = "<!-- excerpt of reports/leaderboard.md -->"
END = "<!-- end of the excerpt -->"
LEGENDS = {
    "README.md": "Learned from **{source}**, {metric} (95 % interval over {seeds} seeds and "
    "{episodes} episodes). The best is **bold**; *tied* and *undecided* are marked; all others are "
    "behind:",
    "README.zh.md": "源域 **{source}**，{metric}（{seeds} 个种子、{episodes} 个 episode 的 "
    "95% 置信区间）。**加粗**者最好，与之持平（*tied*）和未定（*undecided*）的有标记，其余均落后：",
}
"""What stands above a table, in the language of each README."""


def excerpt(board: Path, readme: str = "README.md") -> str:
    """The overview of every source, as markdown between the two marks, for a file of this name."""
    if not board.exists():
        raise InputError(f"{board}: missing. Run `dvc repro` to produce it.")
    frame = read_board(board)
    parts = [START]
    for source, rows in frame.groupby("source", sort=False):
        seen = overview(rows)
        costs = map(seen["costs"].head, ("train s", "adapt ms"))
        columns = ["method", "family", *map(markdown, seen["columns"]), *costs]
        lines = ["| " + " | ".join(columns) + " |"]
        lines += ["| --- | --- |" + " ---: |" * (len(columns) - 2)]
        lines += [
            "| "
            + " | ".join([markdown(r["method"]), r["family"], *r["scores"], r["train"], r["adapt"]])
            + " |"
            for r in seen["rows"]
        ]
        counts = {"seeds": rows["seeds"].max(), "episodes": rows["episodes"].max()}
        about = {"source": markdown(source), "metric": seen["metric"]} | counts
        parts.append(LEGENDS[readme].format(**about))
        parts.append("\n".join(lines))
        parts += [markdown(note)] if (note := seen["costs"].note) else []
    return "\n\n".join([*parts, END])


def update_readme(readme: Path, board: Path) -> None:
    """Put the excerpt of ``board`` between the marks of ``readme``.

    Raises:
        InputError: there is no leaderboard, or no mark.
    """
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(START) + f"(.*?{re.escape(END)})?", re.DOTALL)
    if not pattern.search(text):
        raise InputError(f"{readme}: lacks the line {START}")
    new = excerpt(board, readme.name)
    write_text(readme, pattern.sub(lambda _: new, text, count=1))
