"""Meta-learning, transfer or both: the test between the camps' champions, as reports show it.

A camp is what methods declare: whatever learned by episodes is meta-learning, whatever starts from
weights that learned otherwise is transfer, and whatever does both is a hybrid. Champions are chosen
on ``val`` episodes that neither training nor tuning has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from metabench.reports.statistics.champions import Champions, robustness
from metabench.reports.statistics.comparisons import MARGIN, RELATIVE_MARGIN
from metabench.reports.statistics.tables import Block
from metabench.reports.words import span

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
    forms = [f"{w}w{shots}s" for w in range(ways, 1, -1)] if ways else [f"{shots}s"]
    known = {form for found in scores.values() for form in found}
    return next((form for form in forms if form in known), None)


def tests_between(
    block: Block, scores: Mapping[str, float], camps: Mapping[str, str], metric: str
) -> list[dict[str, Any]]:
    """The test between champions, the same without each, and with each camp's best three.

    Args:
        block: test scores, higher is better.
        scores: of the methods on ``val``; those without one are not chosen.
        camps: of the methods.

    Returns:
        A row a test, none if fewer than two camps have methods: its ``name``, and by camp
        ``methods`` and ``verdict`` (best, tied, behind, undecided) with ``between``, the interval
        of the difference to the best camp.
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
            "between": span(compared.low[i], compared.high[i], metric),
        }
        for i, camp in enumerate(test.camps)
    }


def in_words(tests: Iterable[Mapping[str, Any]], metric: str) -> str:
    """What the tests say, in two sentences."""
    main, *others = tests
    camps = [camp for camp in CAMPS if camp in main]
    best = next(camp for camp in camps if main[camp]["verdict"] == "best")
    words = [main[camp]["verdict"] for camp in camps]
    lead = next((word for word in ("undecided", "tied") if word in words), best)
    said = [f"{best} ({main[best]['methods'][0]}) has the best mean"]
    for camp in camps:
        (method,), word = main[camp]["methods"], main[camp]["verdict"]
        between = main[camp]["between"] + (" points" if metric == "accuracy" else "")
        how = f"behind by {between}" if word == "behind" and main[camp]["between"] else word
        said += [f"{camp} ({method}) is {how}"] if word != "best" else []
    odd = [t["name"] for t in others if any(_word(t, c) != _word(main, c) for c in camps)]
    named = " and ".join("with the best three" if name == "best three" else name for name in odd)
    rest = (
        f"It rests on single methods: another verdict {named}"
        if odd
        else "The same without each champion, and with the mean of each camp's best three"
    )
    return f"{lead}: {', '.join(said)}. {rest}"


def _word(test: Mapping[str, Any], camp: str) -> str:
    return str(test[camp]["verdict"]) if camp in test else "no method left"
