"""Hyper-parameters chosen on ``val`` episodes: equal trials of all that each method is free in.

The search is random (Bergstra & Bengio 2012), and its draws are named by trial and setting, so all
methods have the same ones, and a trial is the same whenever it is made. The first trial is the
settings in ``params.yaml``. The best three are trained again with three fresh seeds and scored on
other episodes; the best mean of those is kept, where a seed that diverges counts as the worst
score. At last, what prediction alone uses is searched for each number of shots, on the learners
that the winner has left: nothing is trained for that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from metabench.config import Compute, Config
from metabench.config.messages import glance, nearest
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import pretraining_of
from metabench.pipeline.search_space import Space
from metabench.pipeline.studies import (
    ADAPTATION,
    AGAIN,
    FIRST,
    SEEDS,
    Part,
    Row,
    Study,
    path_of,
    write,
)
from metabench.pipeline.trials import (
    Outcome,
    TrialLayout,
    adaptation_record,
    outcome_at,
    outcome_key,
    start_record,
    with_settings,
)


@dataclass(frozen=True)
class Terms:
    """What every method of a search gets.

    Attributes:
        trials: settings that are tried, the first being those in ``params.yaml``; fewer where a
            method has no more that differ.
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
        self._record = cache(self._look_at_record)  # keys are not free

    @cached_property
    def name(self) -> str:
        """Of the study: the digest of all that its scores depend on, settings apart; episodes."""
        names = self.space.names
        fixed = {name: value for name, value in self.space.base.items() if name not in names}
        bare = with_settings(self.config, self.source, self.method, fixed)
        cell, layout = (self.source, self.method, self.seed), Layout(self.root)
        key = outcome_key(bare, layout.at(self.level), cell, FIRST, self.terms.episodes)
        return f"{self.source}/{self.method}/{key[:12]}-{self.terms.episodes}"

    @cached_property
    def tried(self) -> list[dict[str, Any]]:
        """The settings of all trials, which differ."""
        return self.space.trials(self.terms.trials)

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
        tried, count = self._adaptations(study.winner), self._share
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
                finished=all(self._adapted(study.winner, seed, settings) for settings in tried),
            )
            for seed in seeds
        ]

    def study(self, complete: bool = False) -> Study:
        """All that was tried so far, that of adaptation too where it is ``complete``."""
        first = self._rows(FIRST, range(len(self.tried)), [self.seed])
        begun = Study(self.name, first)
        study = Study(self.name, first + self._rows(AGAIN, begun.best, self.fresh_seeds))
        if not complete:
            return study
        adapted = [
            _row(ADAPTATION, number, seed, settings, found)
            for number, settings in enumerate(self._adaptations(study.winner))
            for seed in self.fresh_seeds
            if (found := self._adapted(study.winner, seed, settings))
        ]
        return Study(self.name, [*study.rows, *adapted])

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

    def _adaptations(self, winner: Row) -> list[dict[str, Any]]:
        """Settings of adaptation to try, the winner's own first; none where there are none."""
        names = self.space.adaptation
        if not names:
            return []
        own = {name: winner.settings[name] for name in names}
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
        return Job(
            f"{part} {self.source}/{self.method}/{number}/{seed}",
            "metabench.pipeline.trials:trial_cell",
            {"config": config, "layout": layout, "source": self.source, "method": self.method}
            | {"seed": seed, "draws": part, "count": self.terms.episodes, "keep": part == AGAIN},
            finished=self._outcome(part, number, seed) is not None,
        )

    def _outcome(self, part: Part, number: int, seed: int) -> Outcome | None:
        return outcome_at(*self._record(part, number, seed))

    def _look_at_record(self, part: Part, number: int, seed: int) -> tuple[Path, str]:
        config, layout = self._trial(number)
        cell = self.source, self.method, seed
        key = outcome_key(config, layout, cell, part, self.terms.episodes)
        return layout.record(*cell, part), key

    def _adapted(self, winner: Row, seed: int, settings: dict[str, Any]) -> Outcome | None:
        config, layout = self._trial(winner.number)
        cell = self.source, self.method, seed
        return outcome_at(*adaptation_record(config, layout, cell, settings, self._share))

    def _rows(self, part: Part, numbers: Iterable[int], seeds: Iterable[int]) -> list[Row]:
        return [
            _row(part, number, seed, {n: self.tried[number][n] for n in self.space.names}, found)
            for number, seed in itertools.product(numbers, seeds)
            if (found := self._outcome(part, number, seed))
        ]


def _row(part: Part, number: int, seed: int, settings: dict[str, Any], found: Outcome) -> Row:
    return Row(part, number, seed, settings, **found.model_dump(exclude={"key"}))


def search(searches: Sequence[Search], compute: Compute) -> list[Study]:
    """Run searches side by side and write their studies; what is finished already is reused.

    Raises:
        InputError: trials fail, or diverge with all settings of a method.
    """
    for jobs in (Search.trials, Search.again, Search.adapting):
        waiting = [(one, jobs(one)) for one in searches]
        starts = {job.name: job for one, found in waiting for job in one.pretrainings(found)}
        run_cells([job for job in starts.values() if not job.finished], compute)
        run_cells([job for _, found in waiting for job in found], compute)
    studies = [one.study(complete=True) for one in searches]
    for one, study in zip(searches, studies, strict=True):
        write(study, path_of(one.root, one.config.profile, one.source, one.method))
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
