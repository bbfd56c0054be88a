"""``reproduction.md``: our figures beside published ones, from every leaderboard at hand.

``published.csv`` holds the published side: facts with their origin, how far they are confirmed, and
what differs in the protocol. The measured side is whatever ``leaderboard.csv`` files there are; a
row without one says *not run*.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from metabench.files import DAMAGED, InputError, write_text
from metabench.pipeline.results import VAL
from metabench.reports.levels import at_main
from metabench.shown import markdown

TITLES = {
    "omniglot-challenge": "Omniglot challenge, minimal: 20-way one-shot within an alphabet",
    "sinusoid": "Sinusoid regression: squared error after gradient steps",
    "omniglot-full": "Omniglot, full",
    "cifar-fs": "CIFAR-FS",
    "mini-imagenet": "miniImageNet",
    "banking77": "BANKING77, all 77 intents",
    "clinc150": "CLINC150, all 150 intents",
}
NEEDED = {
    "profile", "git_commit", "source", "target", "ways", "shots", "steps", "method", "mean",
    "half", "metric", "transductive", "seeds", "episodes", "backbone",
}  # fmt: skip


def published() -> pd.DataFrame:
    """The published figures, as text where they are text (``~0.7``)."""
    with (files("metabench.reports") / "published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"published": str}, keep_default_na=False)


def read_board(path: Path) -> pd.DataFrame:
    """The results of a ``leaderboard.csv``; a commit of digits alone stays text.

    Rows whose settings were chosen by another rule than ``val`` are no results, and of several
    budgets the main one counts. Boards of version 0.2 have no others.
    """
    board = pd.read_csv(path, dtype={"git_commit": str, "profile": str})
    return at_main(board[board["selection"] == VAL] if "selection" in board else board)


def leaderboards(folder: Path) -> pd.DataFrame:
    """All rows of ``folder/leaderboard.csv`` and ``folder/*/leaderboard.csv``.

    The smoke profile is a test of the pipeline and stays out.

    Raises:
        InputError: a file is damaged or lacks a column.
    """
    frames = []
    for path in sorted([*folder.glob("leaderboard.csv"), *folder.glob("*/leaderboard.csv")]):
        try:
            frame = read_board(path)
        except DAMAGED as error:
            raise InputError(f"{path}: damaged ({error}). Run `dvc repro`.") from error
        missing = sorted(NEEDED - set(frame.columns))
        if missing:
            raise InputError(f"{path}: lacks {', '.join(missing)}. Run `dvc repro`.")
        frames.append(frame[frame["profile"] != "smoke"])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=sorted(NEEDED))


def rows(boards: pd.DataFrame, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """One row for each published figure and each profile that measured it, or *not run*.

    ``*`` as the source or method stands for whichever of ours is best.
    """
    found: list[dict[str, Any]] = []
    fact: Any
    for fact in facts.to_dict("records"):
        wanted = [k for k in ("source", "target", "ways", "shots", "steps", "method")
                  if fact[k] != "*"]  # fmt: skip
        hits = boards[(boards[wanted] == pd.Series({k: fact[k] for k in wanted})).all(axis=1)]
        hits = hits[~hits["transductive"].astype(bool)]
        best = hits.sort_values("mean", ascending=fact["metric"] == "MSE").groupby("profile")
        measured = [_measured(fact, row) for row in best.head(1).to_dict("records")]
        found += [fact | m for m in measured] or [fact | {"ours": "not run", "by": ""}]
    return found


def _measured(fact: dict[str, Any], row: Any) -> dict[str, Any]:
    if fact["metric"] == "MSE":
        ours = f"{row['mean']:.3g} ± {row['half']:.2g}"
    else:
        mean = row["mean"] if fact["metric"] == "accuracy %" else 1 - row["mean"]
        ours = f"{100 * mean:.1f} ± {100 * row['half']:.1f}"
    return {
        "ours": ours,
        "source": row["source"],
        "method": row["method"],
        "by": f"profile {markdown(row['profile'])}, commit {markdown(row['git_commit'])}, "
        f"{markdown(row['backbone'])}, "
        f"{row['seeds']} seed{'s' if row['seeds'] != 1 else ''} × {row['episodes']} episodes",
    }


def write_reproduction(folder: Path) -> Path:
    """Write ``folder/reproduction.md`` from the leaderboards below ``folder``."""
    boards, facts = leaderboards(folder), published()
    lines = [
        "# Reproduction",
        "",
        "`metabench report` compares the results in the leaderboards of this folder with published",
        "ones. Ours: means ± half of the 95 % interval over seeds and episodes. *Unconfirmed*: we",
        "have not seen the published number in its source. *Not run*: no leaderboard here has it.",
    ]
    for topic, part in facts.groupby("topic", sort=False):
        lines += [
            "",
            f'<a id="{topic}"></a>',
            f"## {TITLES[str(topic)]}",
            "",
            "| source → target | setting | method | measure | ours | published | published by | "
            "differs in | made by |",
            "| --- | --- | --- | --- | ---: | ---: | --- | --- | --- |",
        ]
        lines += [_line(row) for row in rows(boards, part)]
    path = folder / "reproduction.md"
    write_text(path, "\n".join(lines) + "\n")
    return path


def _line(row: dict[str, Any]) -> str:
    setting = f"{row['ways']}-way {row['shots']}-shot" if row["ways"] else f"{row['shots']} points"
    if row["steps"] >= 0:
        setting += f", {row['steps']} step{'s' if row['steps'] != 1 else ''}"
    origin = row["origin"] + ("" if row["confirmed"] == "yes" else " (unconfirmed)")
    cells = [
        f"{markdown(row['source'])} → {markdown(row['target'])}", setting, markdown(row["method"]),
        row["metric"],
        f"**{row['ours']}**" if row["by"] else row["ours"], row["published"] or "–", origin,
        row["differences"], row["by"] or "–",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"
