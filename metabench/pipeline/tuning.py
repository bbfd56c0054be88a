"""Hyper-parameters chosen on ``val`` episodes: equal trials of all that each method is free in.

The search is random (Bergstra & Bengio 2012), and its draws are named by trial and setting, so all
methods have the same ones, and a trial is the same whenever it is made. The first trial is the
settings in ``params.yaml``. The best three are trained again with three fresh seeds and scored on
other episodes; the best mean of those is kept, where a seed that diverges counts as the worst
score. At last, what prediction alone uses is searched for each number of shots, on the learners
that the winner has left: nothing is trained for that.

A study whose table is there goes on: its trials are not made again, whoever made them, and its
first trial stays what it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from metabench.config import Compute, Config
from metabench.config.messages import glance, nearest
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.pipeline import estimates
from metabench.pipeline.engine import Job
from metabench.pipeline.executor import run_cells
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.identity import identity
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import pretraining_of
from metabench.pipeline.search_space import Space
from metabench.pipeline.studies import (
    ADAPTATION,
    AGAIN,
    BEGUN,
    FIRST,
    SEEDS,
    Part,
    Row,
    Study,
    path_of,
    read,
    write,
)
from metabench.pipeline.trials import (
    Outcome,
    TrialLayout,
    adaptation_record,
    forms_of,
    outcome_at,
    outcome_key,
    start_record,
    with_settings,
)


@dataclass(frozen=True)
class Terms:
    """What every method of a search gets.

    Attributes:
        trials: settings that are tried; fewer where a method has no more that differ.
        episodes: ``val`` episodes of a score, in each setting of the evaluation.
        adaptations: settings of adaptation that are tried on the winner's learners.
    """

    trials: int = 32
    episodes: int = 300
    adaptations: int = 16


class Search:
    """The search of one method's settings: what is to be computed, and what came of it."""

    def __init__(self, config: Config, root: Path, source: str, method: str, terms: Terms):
        self.root, self.source, self.method, self.terms = root, source, method, terms
        level = config.task_type_of(source).budget.level  # of several the main one
        self.config, self.level = config.at(level), level
        self.space = Space(self.config, root, source, method)
        self.name, self.code = self._identity()
        self.path = path_of(root, config.profile, source, method)
        self.begun = self._look_at_table()
        first = next((r for r in self.begun.of(FIRST) if r.number == 0), None)
        if first:
            settings = {**self.space.base, **first.settings}
            self.space = Space(
                with_settings(self.config, source, method, settings), root, source, method
            )
        self._record = cache(self._look_at_record)  # keys are not free
        self._adaptation_record = cache(self._look_at_adaptation)

    def _identity(self) -> tuple[str, str]:
        """Name of the study, and digest of its code."""
        layout = Layout(self.root).at(self.level)
        params, code = identity(self.config, layout, self.source, self.method, self.space.ranges)
        forms = [(form.label, n) for form, n in forms_of(self.config, layout, self.source)]
        key = key_of(params=params, forms=forms, seeds=self.seeds)
        return f"{self.source}/{self.method}/{key[:12]}-{self.terms.episodes}", code[:12]

    def _look_at_table(self) -> Study:
        """What tables of the same name and code have of the study, maybe nothing."""
        found = (read(path) for path in (self.path_of_begun, self.path) if path.is_file())
        mine = [study for study in found if (study.name, study.code) == (self.name, self.code)]
        rows = {
            (row.part, row.number, row.seed): row
            for newer, study in enumerate(mine[::-1], 1)
            for row in study.rows
            if row.part != ADAPTATION or newer == len(mine)  # else maybe another winner's
        }
        return Study(self.name, [*rows.values()], self.code)

    @property
    def path_of_begun(self) -> Path:
        """Where the table is until the search is through, so that it replaces no whole one."""
        key = self.name.rpartition("/")[2]
        return self.path.with_name(f"{self.method}.{key}-{self.code}{BEGUN}")

    @cached_property
    def tried(self) -> list[dict[str, Any]]:
        """The settings of all trials, which differ: at least as many as a table has."""
        return self.space.trials(max(self.terms.trials, len(self.begun.of(FIRST))))

    def trials(self) -> list[Job]:
        """All trials, with the first seed."""
        return [self._job(FIRST, n, self.seed) for n in range(len(self.tried))]

    def again(self) -> list[Job]:
        """The best settings, with fresh seeds and on other episodes."""
        numbers = self.study().best
        return [self._job(AGAIN, n, seed) for n in numbers for seed in self.fresh_seeds]

    def adapting(self) -> list[Job]:
        """Settings of adaptation, a job for each of the winner's learners that did not diverge."""
        study = self.study()
        config, layout = self._trial(study.winner.number)
        tried, count = self._adaptations(study.winner.settings), self._share
        seeds = [
            row.seed
            for row in study.of(AGAIN)
            if tried and row.number == study.winner.number and not row.diverged
        ]
        return [
            Job(
                f"adapt {self.source}/{self.method}/{seed}",
                "metabench.pipeline.trials:adaptation_cell",
                {"config": config, "layout": layout, "source": self.source, "method": self.method}
                | {"seed": seed, "tried": tried, "count": count},
                finished=all(self._adapted(study.winner, n, seed) for n in range(len(tried))),
            )
            for seed in seeds
        ]

    def study(self) -> Study:
        """All that was tried so far."""
        first = self._rows(FIRST, range(len(self.tried)), [self.seed])
        best = Study(self.name, first).best
        study = Study(self.name, first + self._rows(AGAIN, best, self.fresh_seeds), self.code)
        if not study.is_complete or all(row.diverged for row in study.of(AGAIN)):
            return study
        numbers = range(len(self._adaptations(study.winner.settings)))
        found = (self._adapted(study.winner, n, s) for n in numbers for s in self.fresh_seeds)
        return replace(study, rows=[*study.rows, *(row for row in found if row)])

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of the first split of the classes that no result has: of all trials, then fresh.

        A result with the seed of the trials would be the luckiest of all of them.
        """
        others = (s for s in itertools.count(1000) if s not in self.config.seeds)
        return list(
            itertools.islice((s for s in others if self.config.split_of(s) == 0), 1 + SEEDS)
        )

    @property
    def seed(self) -> int:
        """In which all trials are made."""
        return self.seeds[0]

    @property
    def fresh_seeds(self) -> list[int]:
        """In which the best of them are made again."""
        return self.seeds[1:]

    @property
    def _share(self) -> int:
        """Episodes of each of the winner's learners in the search of adaptation."""
        return math.ceil(self.terms.episodes / SEEDS)

    def _adaptations(self, winner: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Settings of adaptation to try, the winner's own first; none where there are none."""
        names = self.space.adaptation
        if not names:
            return []
        own = {name: winner[name] for name in names}
        return [own, *map(self.space.adapted, range(1, self.terms.adaptations))]

    def pretrainings(self, jobs: Iterable[Job]) -> list[Job]:
        """What the learners of jobs that are not finished start from, each once."""
        found = {
            (self.source, pretraining, self.level, job.arguments["seed"]): None
            for job in jobs
            if not job.finished
            and (pretraining := pretraining_of(job.arguments["config"], self.source, self.method))
        }
        jobs = jobs_of("pretrain", found, self.config, Layout(self.root))
        return [
            replace(
                job,
                function="metabench.pipeline.trials:start_cell",
                finished=job.finished or outcome_at(*start_record(**job.arguments)) is not None,
            )
            for job in jobs
        ]

    def _trial(self, number: int) -> tuple[Config, TrialLayout]:
        settings = self.tried[number]
        config = with_settings(self.config, self.source, self.method, settings)
        return config, TrialLayout(self.root, key_of(settings=settings)[:16], level=self.level)

    def _job(self, part: Part, number: int, seed: int) -> Job:
        config, layout = self._trial(number)
        before = self._tried(FIRST, number, self.seed)
        return Job(
            f"{part} {self.source}/{self.method}/{number}/{seed}",
            "metabench.pipeline.trials:trial_cell",
            {"config": config, "layout": layout, "source": self.source, "method": self.method}
            | {"seed": seed, "draws": part, "count": self.terms.episodes, "keep": part == AGAIN},
            finished=self._tried(part, number, seed) is not None,
            seconds=before.seconds if before else self._guess(config),
        )

    def _guess(self, config: Config) -> float:
        """Seconds that a trial may take: no other has its settings."""
        cell = config, self.source, self.method
        return estimates.guess_of_training(*cell) + estimates.guess_of_evaluation(*cell)

    def _look_at_record(self, part: Part, number: int, seed: int) -> tuple[Path, str]:
        config, layout = self._trial(number)
        cell = self.source, self.method, seed
        key = outcome_key(config, layout, cell, part, self.terms.episodes)
        return layout.record(*cell, part), key

    def _look_at_adaptation(self, trial: int, number: int, seed: int) -> tuple[Path, str]:
        config, layout = self._trial(trial)
        settings = self._adaptations(self.tried[trial])[number]
        cell = self.source, self.method, seed
        return adaptation_record(config, layout, cell, settings, self._share)

    def _adapted(self, winner: Row, number: int, seed: int) -> Row | None:
        settings = self._adaptations(winner.settings)[number]
        record = self._adaptation_record(winner.number, number, seed)
        known = self._winner_of_begun == winner.settings  # else of other learners
        return self._row(ADAPTATION, number, seed, settings, outcome_at(*record), known)

    @cached_property
    def _winner_of_begun(self) -> Mapping[str, Any] | None:
        """The settings on whose learners the tables' adaptation was tried, if any was."""
        adapted = self.begun.is_complete and self.begun.of(ADAPTATION)
        return self.begun.winner.settings if adapted else None

    def _tried(self, part: Part, number: int, seed: int) -> Row | None:
        settings = {name: self.tried[number][name] for name in self.space.names}
        record = self._record(part, number, seed)
        return self._row(part, number, seed, settings, outcome_at(*record))

    def _row(
        self,
        part: Part,
        number: int,
        seed: int,
        settings: dict[str, Any],
        kept: Outcome | None,
        known: bool = True,
    ) -> Row | None:
        """What came of settings: as a record of this machine, else as a table has it if it can."""
        if kept:
            return Row(part, number, seed, settings, **kept.model_dump(exclude={"key"}))
        row = self.begun.found(part, seed, settings) if known else None
        return row and replace(row, number=number)

    def _rows(self, part: Part, numbers: Iterable[int], seeds: Iterable[int]) -> list[Row]:
        found = itertools.starmap(partial(self._tried, part), itertools.product(numbers, seeds))
        return [row for row in found if row]


def search(searches: Sequence[Search], compute: Compute) -> list[Study]:
    """Run searches side by side; what is finished already is reused.

    A study's table is written anew after each trial, at :attr:`Search.path_of_begun` until all are
    made, so that whoever has it can go on.

    Raises:
        InputError: trials fail, or diverge with all settings of a method.
    """
    of_method = {one.method: one for one in searches}

    def keep(job: Job) -> None:
        one = of_method[job.arguments["method"]]
        write(one.study(), one.path_of_begun)

    for jobs in (Search.trials, Search.again, Search.adapting):
        waiting = [(one, jobs(one)) for one in searches]
        starts = {job.name: job for one, found in waiting for job in one.pretrainings(found)}
        run_cells([job for job in starts.values() if not job.finished], compute)
        run_cells([job for _, found in waiting for job in found], compute, keep)
    studies = [one.study() for one in searches]
    for one, study in zip(searches, studies, strict=True):
        write(study, one.path)
        one.path_of_begun.unlink(missing_ok=True)
    return studies


def methods_to_tune(config: Config, source: str, names: Sequence[str]) -> Sequence[str]:
    """``names``, or all methods of the task type of ``source``.

    Raises:
        InputError: nothing learns from ``source``, or a name is none of a method.
    """
    sources = [name for task_type in config.task_types.values() for name in task_type.sources]
    if source not in sources:
        raise InputError(
            f"params.yaml: no task type has source {glance(source)}. {nearest(source, sources)}"
        )
    used = config.task_type_of(source).methods
    known = [*used, *METHODS.names()]
    for name in names:
        if name not in known:
            raise InputError(f"unknown method {glance(name)}. {nearest(name, known)}")
    return names or used


def require_episodes(layout: Layout, source: str) -> None:
    """What every trial needs is there.

    Raises:
        InputError: it is not.
    """
    for path in (layout.processed(source) / "classes.json", layout.episodes(source, "val")):
        if not path.exists():
            raise InputError(f"{path}: missing. Run `dvc repro episodes` first.")
