"""Meta-learning, transfer or both: the test between the camps' champions, as reports show it.

A camp is what methods declare: whatever learned by episodes is meta-learning, whatever starts from
weights that learned otherwise is transfer, and whatever does both is a hybrid. Champions are chosen
on ``val`` episodes that neither training nor tuning has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metabench.config import setting_label
from metabench.reports.statistics.champions import Champions, robustness
from metabench.reports.statistics.comparisons import MARGIN, RELATIVE_MARGIN
from metabench.reports.statistics.tables import Block
from metabench.reports.words import stands

META, TRANSFER, HYBRID = CAMPS = ("meta-learning", "transfer", "hybrid")

Validation = Mapping[str, Mapping[str, float]]
"""By method and form of episode (``5w1s``), the mean over seeds; higher is better."""


def camp_of(record: Any) -> str:
    """The camp of a method by its record; none for controls and what has learned nothing."""
    if record["family"] == "control":
        return ""
    episodic = record["source_training"] == "episodic" and record["trainable_parameters"] > 0
    transferred = (
        record["source_training"] == "supervised"
        or record["start"] != "random"
        or bool(record["external_pretraining"])
    )
    if episodic:
        return HYBRID if transferred else META
    return TRANSFER if transferred else ""


def validation_of(costs: pd.DataFrame) -> Mapping[str, Validation]:
    """By source, the ``val_scores`` of its methods; empty where records have none."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    if "val_scores" not in costs:
        return {}
    cells: Iterable[tuple[Any, pd.DataFrame]] = costs.groupby(["source", "method"])
    for (source, method), rows in cells:
        means = pd.DataFrame(list(rows["val_scores"])).mean()
        found.setdefault(source, {})[method] = {str(k): float(v) for k, v in means.items()}
    return found


def form_for(scores: Validation, ways: int, shots: int) -> str | None:
    """The form of ``val`` episodes that stands for a setting: with as many ways as ``val`` has."""
    forms = [setting_label(w, shots) for w in (range(ways, 1, -1) if ways else [0])]
    known = {form for found in scores.values() for form in found}
    return next((form for form in forms if form in known), None)


def compare_camps(
    block: Block, scores: Mapping[str, float], camps: Mapping[str, str], metric: str
) -> list[dict[str, Any]]:
    """The test between champions, the same without each, and with each camp's best three.

    Args:
        block: test scores, higher is better.
        scores: of the methods on ``val``; those without one are not chosen.
        camps: of the methods.

    Returns:
        A row a test, none if fewer than two camps have methods: its ``name``, and by camp
        ``methods``, ``verdict`` (best, tied, behind, undecided) and how that ``stands``, with the
        interval of the difference to the best camp.
    """
    members = {
        camp: [m for m in block.methods if camps.get(m) == camp and m in scores] for camp in CAMPS
    }
    margin = MARGIN
    if metric != "accuracy":
        margin = RELATIVE_MARGIN * float(np.abs(block.moments().mean).min())
    found = robustness(block, scores, members, margin)
    return [_row(name, test, metric) for name, test in found.items()]


def _row(name: str, test: Champions, metric: str) -> dict[str, Any]:
    words, compared = test.comparison.words, test.comparison
    return {"name": name} | {
        camp: {
            "methods": list(test.chosen[i]),
            "verdict": str(words[i]),
            "stands": stands(str(words[i]), compared.low[i], compared.high[i], metric),
        }
        for i, camp in enumerate(test.camps)
    }


def rests_on(tests: Sequence[Mapping[str, Any]]) -> str:
    """Whether the same camps are behind, whichever method stands for a camp."""
    main, *others = tests
    odd = [test["name"] for test in others if _behind(test) != _behind(main) & test.keys()]
    if not odd:
        return "the same without each champion, and with the mean of the best three of each"
    named = ["with the best three" if name == "best three" else name for name in odd]
    return f"different {', '.join(named)}"


def _behind(test: Mapping[str, Any]) -> set[str]:
    return {camp for camp in CAMPS if camp in test and test[camp]["verdict"] == "behind"}


def in_words(tests: Sequence[Mapping[str, Any]], metric: str) -> str:
    """What the tests say, in a sentence, and what that rests on, in another."""
    main = tests[0]
    found = {camp: main[camp] for camp in CAMPS if camp in main}
    best = next(camp for camp in found if found[camp]["verdict"] == "best")
    words = [found[camp]["verdict"] for camp in found]
    lead = next((f"{word}: " for word in ("undecided", "tied") if word in words), "")
    unit = " points" if metric == "accuracy" else ""
    others = [
        f"{camp} ({it['methods'][0]}) is {it['stands']}{unit if it['stands'][-1].isdigit() else ''}"
        for camp, it in found.items()
        if camp != best
    ]
    rests = rests_on(tests)
    return (
        f"{lead}{best} ({found[best]['methods'][0]}) has the best mean, {', '.join(others)}. "
        f"The verdict is {rests}"
    )
