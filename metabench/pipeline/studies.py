"""A study: all that a search has tried for one method, as a table that can be read and committed.

What is to be used follows from the rows alone, so that anybody can make the choice again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from metabench.files import InputError, write_text

Part = Literal["tuning", "again", "adaptation"]
FIRST, AGAIN, ADAPTATION = get_args(Part)
"""Parts of a study, and names of their ``val`` episodes: all trials; the best ones with fresh
seeds; the settings of adaptation on the learners of the winner."""
BEST, SEEDS = 3, 3
"""So many settings are trained again, with so many fresh seeds."""
FOLDER = Path("studies")
BEGUN = ".begun.csv"
"""End of the name of a table that is not whole yet."""
ENOUGH = 0.005
"""Half a point: no more of an accuracy's noise shall come from the draw of episodes."""


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        number: of the settings within their part.
        scores: by setting of the evaluation, such as ``5w1s``: accuracy, or minus squared error.
        noise: standard deviation of the mean of ``scores`` that comes from the draw of episodes.
        seconds: of training and scoring.
        diverged: why there are no scores.
    """

    part: Part
    number: int
    seed: int
    settings: Mapping[str, Any]
    scores: Mapping[str, float] = field(default_factory=dict)
    noise: float | None = None
    outer_steps: int = 0
    seconds: float = 0.0
    diverged: str | None = None

    @property
    def score(self) -> float:
        """Mean over the settings of the evaluation; not a number where it diverged."""
        return float(np.mean([*self.scores.values()])) if self.scores else np.nan


@dataclass(frozen=True)
class Study:
    """The trials of one method, in order.

    Attributes:
        name: with the digest of all that the scores depend on, but for the settings that are
            searched, and the code.
        rows: the first trials have the numbers 0, 1, …; number 0 is ``params.yaml`` as it was.
        code: digest of the code that trains.
    """

    name: str
    rows: Sequence[Row]
    code: str = ""

    def of(self, part: Part) -> list[Row]:
        """The rows of one part."""
        return [row for row in self.rows if row.part == part]

    @property
    def searched(self) -> list[str]:
        """Names of the settings that were searched."""
        return list(self.rows[0].settings)

    @property
    def scores(self) -> np.ndarray:
        """Of all first trials."""
        return self._numbers(self.of(FIRST))

    @property
    def noise(self) -> float:
        """Largest standard deviation of an accuracy that comes from the draw of episodes.

        All trials have the same episodes, so their differences have less. Errors of regression have
        no scale of their own: 0.
        """
        rows = [row for row in self.of(FIRST) if row.noise is not None and row.score > 0]
        return max((row.noise or 0.0 for row in rows), default=0.0)

    @property
    def is_complete(self) -> bool:
        """Whether the best trials were all made again, so that there is a choice."""
        made = [row.number for row in self.of(AGAIN)]
        return bool(made) and all(made.count(number) == SEEDS for number in self.best)

    def found(self, part: Part, seed: int, settings: Mapping[str, Any]) -> Row | None:
        """The row of these settings, whatever its number."""
        same = (row for row in self.of(part) if row.seed == seed and row.settings == settings)
        return next(same, None)

    @property
    def best(self) -> list[int]:
        """Numbers of the best first trials, the best first; of equal ones the earlier."""
        order = np.argsort(-self.scores, kind="stable")[:BEST]
        return [self.of(FIRST)[n].number for n in order]

    @property
    def winner(self) -> Row:
        """The trial whose settings have the best mean over the fresh seeds.

        Raises:
            InputError: all diverge.
        """
        rows = self.of(AGAIN)
        if all(row.diverged for row in rows):
            raise InputError(
                f"{self.name}: training diverges with all settings that were tried. Lower the "
                "learning rates in params.yaml, with which the first trial is made, or raise "
                f"--trials. {rows[-1].diverged if rows else ''}"
            )
        found = pd.Series(self._numbers(rows)).groupby([row.number for row in rows]).mean()
        number = max(self.best, key=lambda n: found.get(n, -np.inf))
        return next(row for row in self.of(FIRST) if row.number == number)

    @property
    def means(self) -> dict[str, float]:
        """Scores of the winner by setting of the evaluation: means over fresh seeds.

        Of those that did not diverge.
        """
        rows = [row.scores for row in self.of(AGAIN) if row.number == self.winner.number]
        return {str(form): float(mean) for form, mean in pd.DataFrame(rows).mean().items()}

    @property
    def by_shots(self) -> dict[int, dict[str, Any]]:
        """The best settings of adaptation for each number of shots that was scored.

        None at all where the winner's own are best for every number: one that is not listed takes
        the values of its nearest. Settings that diverge with any seed are not chosen.
        """
        settings = {row.number: dict(row.settings) for row in self.of(ADAPTATION)}
        forms = {form for row in self.of(ADAPTATION) for form in row.scores}
        best = {
            shots: max(settings, key=partial(self._adapted, shots))  # of equal ones the first
            for shots in sorted(map(_shots, forms))
        }
        return {shots: dict(settings[n]) for shots, n in best.items()} if any(best.values()) else {}

    @property
    def chosen(self) -> dict[str, Any]:
        """All that is to be used: the winner's settings, and ``by_shots``."""
        return dict(self.winner.settings) | {"by_shots": self.by_shots}

    def _adapted(self, shots: int, number: int) -> float:
        """Mean score of settings of adaptation; minus infinity where a learner diverged."""
        rows = [row for row in self.of(ADAPTATION) if row.number == number]
        scores = [[s for form, s in row.scores.items() if _shots(form) == shots] for row in rows]
        return float(np.mean([np.mean(found) if found else -np.inf for found in scores]))

    def _numbers(self, rows: Sequence[Row]) -> np.ndarray:
        """Scores of rows; for one that diverged the worst that there is: 0, or the largest error.

        The largest of the first trials: whether one diverged weighs the same before others follow.
        """
        found = np.array([row.score for row in rows], float)
        first = np.array([row.score for row in self.of(FIRST)], float)
        worst = min([0.0, *first[np.isfinite(first)]])
        return np.where(np.isfinite(found), found, worst)


def _shots(form: str) -> int:
    """``5`` of ``20w5s`` and of ``5s``."""
    return int(form.rpartition("w")[2].removesuffix("s"))


def path_of(root: Path, profile: str, source: str, method: str) -> Path:
    """Where the study of (source, method) of a profile is."""
    return root / FOLDER / profile / source / f"{method}.csv"


def studies_of(profile: str, root: Path = Path()) -> list[Path]:
    """The whole studies of a profile that there are."""
    found = (root / FOLDER / profile).rglob("*.csv")
    return sorted(path for path in found if not path.name.endswith(BEGUN))


def write(study: Study, path: Path) -> None:
    """Write a study as a table: a row a trial, a column each setting and each score."""
    forms = list(dict.fromkeys(form for row in study.rows for form in row.scores))
    names = study.searched
    plain = ["part", "number", "seed"]
    costs = ["noise", "outer_steps", "seconds", "diverged"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["study", "code", *plain, *(f"settings.{n}" for n in names), "score", *forms, *costs]
    )
    for row in study.rows:
        values = asdict(row)
        table.writerow(
            [study.name, study.code]
            + [values[name] for name in plain]
            + [_cell(row.settings[name]) if name in row.settings else "" for name in names]
            + [_digits(row.score), *(row.scores.get(form, "") for form in forms)]  # to the last bit
            + [_digits(row.noise or np.nan), row.outer_steps, f"{row.seconds:.1f}", row.diverged]
        )
    write_text(path, text.getvalue())


def read(path: Path) -> Study:
    """The study that :func:`write` has written.

    Raises:
        InputError: missing, or not such a table.
    """
    try:
        table = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        rows = [_row(line) for line in table]
        return Study(table[0]["study"], rows, table[0]["code"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path}: is no table of a study ({error}). Take it from the repository again, or "
            "delete it and run `metabench tune`."
        ) from error


def _row(line: Mapping[str, str]) -> Row:
    columns = list(line)
    forms = columns[columns.index("score") + 1 : columns.index("noise")]
    if line["part"] not in get_args(Part):
        raise ValueError(f"part {line['part']}")
    return Row(
        part=line["part"],  # type: ignore[arg-type]
        number=int(line["number"]),
        seed=int(line["seed"]),
        settings={
            name.removeprefix("settings."): _value(text)
            for name, text in line.items()
            if name.startswith("settings.") and text
        },
        scores={form: float(line[form]) for form in forms if line[form]},
        noise=float(line["noise"]) if line["noise"] else None,
        outer_steps=int(line["outer_steps"]),
        seconds=float(line["seconds"]),
        diverged=line["diverged"] or None,
    )


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _digits(value: float) -> str:
    return f"{value:.5f}" if np.isfinite(value) else ""
