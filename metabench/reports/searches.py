"""How the settings of a board were searched: its studies, a page of them, and columns of effort."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metabench.config import Config
from metabench.files import atomic
from metabench.pipeline import studies
from metabench.pipeline.studies import Study
from metabench.reports.camps import camp_of
from metabench.reports.statistics.search import TRIALS, curve, is_decided, order_of_camps

if TYPE_CHECKING:
    from metabench.pipeline.tuning import Search

FILE = "studies.csv"
COLUMNS = ["source", "method", "study", "earlier", "number", "score", "searched", "camp", "family"]
OF_WINNER = ["again", "chosen"]
"""Further columns, in the first row of each study: the winner's score with fresh seeds, and all
that the study chose."""


@dataclass(frozen=True)
class Known:
    """A study whose choice a board has; ``earlier``: with another version of the code."""

    study: Study
    earlier: bool = False


def known(config: Config, root: Path, records: pd.DataFrame) -> dict[tuple[str, str], Known]:
    """The studies whose choice the cells of a board have, by source and method.

    Such cells have all that the study chose, by shots too, and the params and data that make the
    name of a study are those that made this one's.

    Raises:
        InputError: a study is damaged, or data are missing.
    """
    found = {}
    first: Iterable[tuple[Any, pd.Series]] = (
        records.groupby(["source", "method"]).first().iterrows()
    )
    for (source, method), record in first:
        path = studies.path_of(root, config.profile, source, method)
        if path.is_file():
            study = studies.read(path)
            chosen = json.loads(json.dumps(study.chosen))  # as a record holds it
            used = {name: record["settings"].get(name) for name in chosen}
            today = _begun_today(study, config, root, source, method)
            if used == chosen and today and study.name == today.name:
                found[source, method] = Known(study, study.code != today.code)
    return found


def _begun_today(
    study: Study, config: Config, root: Path, source: str, method: str
) -> Search | None:
    """The search of as many episodes that would be begun today, if there is one."""
    from metabench.pipeline.search_space import NothingToTune
    from metabench.pipeline.tuning import Search, Terms  # imports torch

    episodes = study.name.rpartition("-")[2]
    if not episodes.isdecimal():
        return None
    try:
        return Search(config, root, source, method, Terms(episodes=int(episodes)))
    except NothingToTune:
        return None


def with_effort(records: pd.DataFrame, found: Mapping[tuple[str, str], Known]) -> pd.DataFrame:
    """``records`` with the numbers of settings and of trials that were searched, where known."""
    cells = list(zip(records["source"], records["method"], strict=True))
    sizes = [
        (len(found[cell].study.searched), len(found[cell].study.of(studies.FIRST)))
        if cell in found
        else (None, None)
        for cell in cells
    ]
    searched, trials = zip(*sizes, strict=True)
    return records.assign(searched=searched, trials=trials) if found else records


def store(records: pd.DataFrame, found: Mapping[tuple[str, str], Known], folder: Path) -> None:
    """Keep with a board the scores of all trials that chose its settings."""
    rows = [
        [source, method, study.name, one.earlier, number, score, len(study.searched), camp, family]
        + (["", ""] if number else [np.mean([*study.means.values()]), json.dumps(study.chosen)])
        for (source, method), one in found.items()
        for study in [one.study]
        for camp, family in [_place(records, source, method)]
        for number, score in enumerate(study.scores)
    ]
    if rows:
        with atomic(folder / FILE) as temporary:
            table = pd.DataFrame(rows, columns=[*COLUMNS, *OF_WINNER])
            table.to_csv(temporary, index=False, float_format="%.6g")
    else:
        (folder / FILE).unlink(missing_ok=True)


def _place(records: pd.DataFrame, source: str, method: str) -> tuple[str, str]:
    """Camp and family of a method."""
    mine = records[(records["source"] == source) & (records["method"] == method)]
    record = mine.to_dict("records")[0]
    return camp_of(record), record["family"]


def searches(folder: Path) -> list[dict[str, Any]]:
    """Of each source with studies: its ``curves``, a row a method, and the order of the camps."""
    if not (folder / FILE).is_file():
        return []
    table = pd.read_csv(folder / FILE, keep_default_na=False)
    return [_source(source, rows) for source, rows in table.groupby("source", sort=False)]


def _source(source: Any, table: pd.DataFrame) -> dict[str, Any]:
    curves, facts = {}, table.groupby("method", sort=False).first()
    for method, rows in table.groupby("method", sort=False):
        curves[str(method)] = curve(list(rows.sort_values("number")["score"]))
    orders = order_of_camps(curves, dict(facts["camp"]))
    methods = [
        {"method": method, "searched": facts["searched"][method], "trials": len(found)}
        | {"family": facts["family"][method], "study": facts["study"][method]}
        | {"earlier": facts["earlier"][method], "again": _cell(float(facts["again"][method]))}
        | {"chosen": _words(json.loads(facts["chosen"][method]))}
        | {"best": [_cell(found[n - 1]) if n <= len(found) else "–" for n in (1, *TRIALS)]}
        for method, found in sorted(curves.items(), key=lambda item: -item[1][-1])
    ]
    return {
        "source": source,
        "curves": curves,
        "families": dict(facts["family"]),
        "methods": methods,
        "orders": {
            n: ", ".join(f"{camp} ({method}, {_cell(score)})" for camp, method, score in order)
            for n, order in orders.items()
        },
        "camps": len(next(iter(orders.values()))) if orders else 0,
        "decided": is_decided(orders),
    }


def _words(settings: Mapping[str, Any]) -> str:
    """Settings as they are written in ``params.yaml``; those by shots last, if there are any."""
    own = {name: value for name, value in settings.items() if value != {}}
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in own.items())


def _cell(score: float) -> str:
    """Accuracies in per cent; scores of regression are minus squared errors."""
    return f"{100 * score:.1f}" if score >= 0 else f"{-score:.3g}"
