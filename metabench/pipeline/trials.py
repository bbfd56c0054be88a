"""One trial of a search: a learner trained with the settings that are tried, scored on ``val``.

A trial is a cell like others: keyed by all that its outcome depends on, computed in a worker,
finished once its record is there. So a search that is killed keeps what it has.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from metabench.config import Config, Setting, setting_label
from metabench.config.names import BACKBONE
from metabench.data import Dataset
from metabench.data.base import header_of
from metabench.data.builders import builder_of
from metabench.episodes.frozen_episodes import FrozenEpisodes, freeze, freeze_tasks
from metabench.files import InputError, read_record, write_json
from metabench.learning.scoring import EpisodeSet, score
from metabench.learning.training import Report
from metabench.methods.base import Diverged, Method
from metabench.pipeline.cells import (
    Cost,
    examples_of,
    fit_to_val,
    pretrain_cell,
    train_cell,
    trusted_of,
)
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from metabench.pipeline.pretrainings import Pretraining, pretraining_of
from metabench.pipeline.studies import ADAPTATION
from metabench.pipeline.validation import learner_class
from metabench.runtime import pick_device

DIVERGENCE = (Diverged, torch.linalg.LinAlgError)
"""Errors that are facts about the settings, the last of numbers that no solver can take. Any other
is a fault of the code or the machine: the cell fails, and no setting is judged by it."""


@dataclass(frozen=True)
class TrialLayout(Layout):
    """The project's layout, but for the learners of one trial; pretrainings are the project's."""

    trial: str = ""

    def learner(self, source: str, method: str, seed: int) -> Path:
        """Folder of the trial's learner."""
        return self.root / "studies/runs" / source / method / self.trial / str(seed)

    def record(self, source: str, method: str, seed: int, draws: str) -> Path:
        """What came of it on these draws of episodes."""
        folder = self.learner(source, method, seed)
        return folder.with_name(f"{seed}-{draws}.json")


class Outcome(BaseModel):
    """What came of settings on ``val`` episodes: a :class:`~metabench.pipeline.studies.Row`.

    ``key`` is the digest of all that this depends on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    key: str
    scores: dict[str, float] = {}
    noise: float | None = None
    outer_steps: int = 0
    seconds: float
    diverged: str | None = None


def with_settings(config: Config, source: str, method: str, settings: dict[str, Any]) -> Config:
    """``config`` with other settings of one method."""
    of_source = {**config.settings.get(source, {}), method: settings}
    return config.model_copy(update={"settings": {**config.settings, source: of_source}})


def forms_of(config: Config, layout: Layout, source: str) -> list[tuple[Setting, int]]:
    """The settings of the evaluation, with queries, as far as ``val`` of ``source`` allows.

    The largest number of ways that there is stands for all that are larger.
    """
    asked = config.task_type_of(source).evaluation
    own = [s for s in asked.settings if not s.datasets or source in s.datasets] or asked.settings
    if builder_of(config, source).family is not None:
        return [(setting, asked.queries) for setting in own]
    members = Dataset.load(layout.processed(source)).members("val")
    found = [form for s in own if (form := fit_to_val(s, asked.queries, members))]
    return list({setting.label: (setting, queries) for setting, queries in found}.values())


def episodes_of(
    config: Config, layout: Layout, source: str, draws: str, count: int
) -> Iterator[FrozenEpisodes]:
    """``count`` ``val`` episodes in each form of the evaluation, drawn under the name ``draws``."""
    family = builder_of(config, source).family
    for form, queries in forms_of(config, layout, source):
        if family is not None:
            yield freeze_tasks(family, draws, form.shots, queries, count)
            continue
        dataset = Dataset.load(layout.processed(source))
        content = header_of(layout.processed(source)).digest
        size = form.ways, form.shots, queries, count
        yield replace(freeze(dataset, "val", *size, content, draws), dataset=source)


def outcome_key(
    config: Config, layout: Layout, cell: tuple[str, str, int], draws: str, count: int
) -> str:
    """Digest of all that a trial's outcome depends on."""
    source, method, seed = cell
    forms = [(form.label, queries) for form, queries in forms_of(config, layout, source)]
    learner = Keys(config, layout).learner(source, method, seed)
    return key_of(learner=learner, draws=draws, count=count, forms=forms)


def outcome_at(path: Path, key: str) -> Outcome | None:
    """The outcome that is kept there, if it is that of ``key``."""
    try:
        found = read_record(path, Outcome)
    except (InputError, OSError):
        return None
    return found if found.key == key else None


def start_cell(
    report: Report, config: Config, layout: Layout, source: str, pretraining: Pretraining, seed: int
) -> None:
    """Pretrain a backbone for trials; to diverge is a fact about those that start from it."""
    path, key = start_record(config, layout, source, pretraining, seed)
    started = time.monotonic()
    try:
        pretrain_cell(report, config, layout, source, pretraining, seed)
    except DIVERGENCE as error:
        seconds = time.monotonic() - started
        write_json(path, Outcome(key=key, seconds=seconds, diverged=_reason(error)).model_dump())


def start_record(
    config: Config, layout: Layout, source: str, pretraining: Pretraining, seed: int
) -> tuple[Path, str]:
    """Where it is kept that a pretraining diverges, and the key of that."""
    folder = layout.root / "studies/runs" / source / BACKBONE / str(pretraining)
    return folder / f"{seed}.json", Keys(config, layout).backbone(source, pretraining, seed)


def _require_start(config: Config, layout: Layout, source: str, method: str, seed: int) -> None:
    """The pretraining that a learner starts from, if any, did not diverge.

    Raises:
        Diverged: it did.
    """
    pretraining = pretraining_of(config, source, method)
    if pretraining:
        found = outcome_at(*start_record(config, layout, source, pretraining, seed))
        if found:
            raise Diverged(f"its pretraining diverges: {found.diverged}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def trial_cell(
    report: Report, config: Config, layout: TrialLayout, source: str, method: str, seed: int,
    draws: str, count: int, keep: bool,
) -> None:  # fmt: skip
    """Train and score one trial; to diverge is a fact about its settings.

    Args:
        config: with the trial's settings.
        draws: name of the ``val`` episodes.
        count: of episodes in each setting.
        keep: the learner; otherwise its record alone is left.

    Raises:
        InputError: something is missing, or the method answers no setting.
    """
    path = layout.record(source, method, seed, draws)
    key = outcome_key(config, layout, (source, method, seed), draws, count)
    if outcome_at(path, key):
        return
    folder, started = layout.learner(source, method, seed), time.monotonic()
    facts: dict[str, Any] = {}
    try:
        _require_start(config, layout, source, method, seed)
        train_cell(report, config, layout, source, method, seed)
        facts["outer_steps"] = read_record(folder / "cost.json", Cost).outer_steps
        learner = opened(config, layout, source, method, seed)
        facts |= measured(learner, sets_of(config, layout, source, method, draws, count))
    except DIVERGENCE as error:
        facts["diverged"] = _reason(error)
    facts["seconds"] = time.monotonic() - started
    write_json(path, Outcome(key=key, **facts).model_dump())
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def adaptation_cell(
    report: Report, config: Config, layout: TrialLayout, source: str, method: str, seed: int,
    tried: Sequence[dict[str, Any]], count: int,
) -> None:  # fmt: skip
    """Score a learner of the search with other settings of adaptation, each in a record.

    Where another machine has trained it, it is trained here again.
    """
    learner, sets, draws = None, list[EpisodeSet](), adaptation_draws(seed)
    for number, settings in enumerate(tried):
        report(number / len(tried), f"adaptation {number}")
        path, key = adaptation_record(config, layout, (source, method, seed), settings, count)
        if outcome_at(path, key):
            continue
        if learner is None:
            train_cell(report, config, layout, source, method, seed)
            learner = opened(config, layout, source, method, seed)
            sets = sets_of(config, layout, source, method, draws, count)
        learner.settings = learner.settings.model_copy(update=settings)
        started, facts = time.monotonic(), dict[str, Any]()
        try:
            facts = measured(learner, sets)
        except DIVERGENCE as error:
            facts["diverged"] = _reason(error)
        seconds = time.monotonic() - started
        write_json(path, Outcome(key=key, seconds=seconds, **facts).model_dump())


def adaptation_record(
    config: Config,
    layout: TrialLayout,
    cell: tuple[str, str, int],
    settings: dict[str, Any],
    count: int,
) -> tuple[Path, str]:
    """Where the outcome of these settings of adaptation is kept, and its key."""
    draws = adaptation_draws(cell[-1])
    key = key_of(learner=outcome_key(config, layout, cell, draws, count), settings=settings)
    return layout.record(*cell, f"{draws}-{key[:12]}"), key


def adaptation_draws(seed: int) -> str:
    """Name of the episodes on which a learner's adaptation is chosen: each learner has others."""
    return f"{ADAPTATION}-{seed}"


def opened(config: Config, layout: Layout, source: str, method: str, seed: int) -> Method:
    """The trained learner, on its device."""
    trusted = trusted_of(config.task_type_of(source), method)
    learner, _ = load_learner(layout.learner(source, method, seed), trusted)
    return learner.to(pick_device(config.compute.device))


def sets_of(
    config: Config, layout: Layout, source: str, method: str, draws: str, count: int
) -> list[EpisodeSet]:
    """The ``val`` episodes that a method can answer, with the examples that they need.

    Raises:
        InputError: there are none.
    """
    task_type = config.task_type_of(source)
    variant, choice = task_type.variant(method), task_type.backbone_of(method)
    variable = learner_class(variant.method).variable_ways
    family = builder_of(config, source).family
    dataset = None if family else examples_of(config, layout, source, choice)
    device = pick_device(config.compute.device)
    found = [
        EpisodeSet.of(frozen, dataset, None, device)
        for frozen in episodes_of(config, layout, source, draws, count)
        if variable or frozen.ways == task_type.training.ways
    ]
    if not found:
        raise InputError(
            f"{source}: val has no episodes of the {task_type.training.ways} ways that {method} "
            "has. Take fewer in params.yaml."
        )
    return found


def measured(learner: Method, sets: Sequence[EpisodeSet]) -> dict[str, Any]:
    """``scores``, higher is better, and the part of their mean's noise that episodes cause.

    That is the standard error of a mean of independent episodes, ``√(Σ_f s_f² / n_f) / F`` over
    the F forms with n_f episodes each.
    """
    scores, variance = {}, 0.0
    for episodes in sets:
        values = score(learner, episodes)["value"].to_numpy(float)
        if not episodes.frozen.ways:
            values = -values
        scores[setting_label(episodes.frozen.ways, episodes.frozen.shots)] = float(values.mean())
        variance += float(values.var(ddof=1)) / len(values)
    return {"scores": scores, "noise": math.sqrt(variance) / len(sets)}
