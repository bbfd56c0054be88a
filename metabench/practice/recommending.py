"""Which method to use on user data, why, and what its scores leave open."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from metabench.reports.scores import block_of_scores, combined, condense, shared_learners
from metabench.reports.statistics.board import Board, board, recommended
from metabench.reports.statistics.intervals import intervals
from metabench.reports.words import amount, stands
from metabench.shown import markdown


def recommend(
    results: pd.DataFrame, costs: pd.DataFrame, deterministic: Collection[str] = ()
) -> tuple[str, str]:
    """The method to use and the reason: the best mean, or something quicker that is tied with it.

    Each method is compared with the best over all settings, on identical episodes. *Tied* bounds
    the loss: with confidence it is less than the margin. Where the best is not above guessing in
    any setting, by more than the luckiest of all may be, no method is to be used: an empty name.

    Args:
        results: of one source and target.
        costs: of its cells.
        deterministic: methods on which a seed has no influence.
    """
    scores, shared = condense(results[results["steps"] == -1]), shared_learners(costs)
    settings = [rows for _, rows in scores.groupby("shots")]
    blocks = [block_of_scores(rows, shared, deterministic) for rows in settings]
    count = len(blocks)
    found = board(combined(blocks, (1 / count,) * count))
    speed = {str(m): float(ms) for m, ms in costs.groupby("method")["adapt_ms"].mean().items()}
    means = [intervals(block) for block in blocks]

    lines = ["| method | " + " | ".join(f"{r['shots'].iloc[0]}-shot" for r in settings)]
    lines[0] += " | adapt ms | behind the best |"
    lines.append("| --- |" + " ---: |" * (count + 1) + " --- |")
    for m in map(str, found.table.index):
        cells = [amount(*each[m], "accuracy") for each in means]
        lines.append(
            f"| {markdown(m)} | {' | '.join(cells)} | {speed[m]:.1f} | {_stands(found, m)} |"
        )
    lines.append("")
    best, above = str(found.table.index[0]), False
    chances = count * len(found.table)  # the best of many is above guessing by luck
    for rows, block, each in zip(settings, blocks, means, strict=True):
        ways, shots = rows["ways"].iloc[0], rows["shots"].iloc[0]
        line = f"{ways}-way {shots}-shot: {best} {amount(*each[best], 'accuracy')} %"
        mean, half = intervals(block, chances)[best]
        if mean - half <= 1 / ways:
            line += f"; not above guessing ({100 / ways:.1f} %)"
            line += f" by more than the best of {chances} scores is by luck"
        else:
            above = True
        lines.append(f"- {line}")
    winner = recommended(found, speed) if above else ""
    if winner:
        lines += _reasons(found, winner, int(_examples(results).max()))
    else:
        lines.append(
            "- **use none of them**: no method is above guessing on these data. More examples, "
            "classes that differ in what can be seen, or a source that is more alike may help"
        )
    lines.append(
        "- these are the episodes that chose it, so its own score is slightly optimistic; "
        "episodes share your examples, so other examples may differ by more than the interval"
    )
    return winner, "\n".join(lines)


def _stands(found: Board, method: str) -> str:
    row = found.row(method)
    return stands(row["verdict"], row["low"], row["high"], "accuracy")


def _examples(results: pd.DataFrame) -> pd.Series:
    """Examples in each episode."""
    return results["ways"] * (results["shots"] + results["queries"])


def _reasons(found: Board, winner: str, examples: int) -> list[str]:
    """Lines on all others, on what was not decided, and the recommendation.

    Args:
        found: of the methods.
        winner: what is recommended.
        examples: that an episode has.
    """
    table = found.table
    best = str(table.index[0])
    tied, behind, undecided = (
        table.index[table["verdict"] == word].tolist() for word in ("tied", "behind", "undecided")
    )
    lines = []
    if tied:
        point = f"within ± {100 * found.margin:g} point with confidence"
        lines.append(f"- tied with {best}, {point}: {', '.join(tied)}")
    if behind:
        lines.append(f"- behind {best}: {', '.join(behind)}")
    if undecided:
        needs = ", ".join(f"{m} ({found.needed(m)} would decide)" for m in undecided)
        lines.append(f"- undecided: {needs}")
        episodes = float(table.loc[undecided, "episodes_needed"].max())
        if np.isfinite(episodes) and episodes > found.episodes:
            lines.append(
                f"- {episodes:.0f} episodes that share no example take {episodes * examples:.0f} "
                "examples: more of your own data, in these classes or in others"
            )
    if np.isfinite(found.detectable):
        lines.append(
            f"- a difference of {100 * found.detectable:.1f} points to the best would be found 8 "
            "times in 10"
        )
    if winner != best:
        why = f"tied with {best}, and of these it adapts in the shortest time"
    elif undecided:
        why = "it has the best mean, though not every other method is shown to be behind"
    elif tied:
        why = "it has the best mean, and what is tied with it is no quicker"
    else:
        why = "every other method is behind" if behind else "it is the only one"
    return [*lines, f"- **use {winner}**: {why}"]
