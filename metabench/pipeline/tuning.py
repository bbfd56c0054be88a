"""Hyper-parameters chosen on ``val`` episodes: the same number of trials for every method.

What is searched is what a method's settings declare (:mod:`metabench.config.search`); where the
search starts is the method's own default. A study lives in a sqlite file and goes on where it
stopped; its name holds the digest of all that a score depends on, so that a study never mixes
scores of different code, data or budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError

from metabench import rng
from metabench.backbones import BACKBONES
from metabench.config import Config
from metabench.config.editing import opened, put, written
from metabench.config.messages import glance, nearest
from metabench.config.names import BACKBONE
from metabench.config.search import Choice, Log, Range
from metabench.config.yaml_file import text_of
from metabench.files import InputError, write_text
from metabench.methods import METHODS
from metabench.methods.searching import searched
from metabench.pipeline.cells import pretrain_cell, train_cell, validator
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from metabench.pipeline.pretrainings import Pretraining, pretraining_of
from metabench.pipeline.validation import learner_class, method_settings
from metabench.runtime import pick_device

DIVERGED = -1e9
"""Score of settings with which training diverges."""


class NothingToTune(InputError):
    """A method has no setting that is searched."""


@dataclass(frozen=True)
class TrialLayout(Layout):
    """The project's layout, but for the learner that is tuned: each trial has a folder of its own.

    Backbones are the project's, unless the pretraining is what is tuned.
    """

    trial: str = ""
    tuned: str = ""

    def backbone(self, source: str, pretraining: Pretraining, seed: int) -> Path:
        """Folder of the trial where the pretraining is tuned, of the project otherwise."""
        if self.tuned == BACKBONE:
            return self._trial(seed)
        return super().backbone(source, pretraining, seed)

    def learner(self, source: str, method: str, seed: int) -> Path:
        """Folder of the trial for what is tuned, of the project for all else."""
        return self._trial(seed) if method == self.tuned else super().learner(source, method, seed)

    def _trial(self, seed: int) -> Path:
        return self.root / "studies/runs" / self.trial / self.tuned / str(seed)


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
    known = [BACKBONE, *used, *METHODS.names()]
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
            raise InputError(f"{path}: missing. Run `dvc repro pretrain` first.")


def with_settings(config: Config, source: str, method: str, settings: dict[str, Any]) -> Config:
    """``config`` with other settings of one method."""
    of_source = {**config.settings.get(source, {}), method: settings}
    return config.model_copy(update={"settings": {**config.settings, source: of_source}})


def score(config: Config, root: Path, source: str, method: str, settings: dict[str, Any]) -> float:
    """Train with ``settings`` and the first seed; the score on the frozen ``val`` episodes."""
    config = with_settings(config, source, method, settings)
    seed = config.seeds[0]
    trial = key_of(source=source, method=method, settings=settings)[:16]
    layout = TrialLayout(root, trial, method)
    if method == BACKBONE:
        pretrain_cell(_silent, config, layout, source, Pretraining(), seed)
        folder = layout.backbone(source, Pretraining(), seed)
    else:
        if pretraining := pretraining_of(config, source, method):
            pretrain_cell(_silent, config, layout, source, pretraining, seed)
        train_cell(_silent, config, layout, source, method, seed)
        folder = layout.learner(source, method, seed)
    learner, _ = load_learner(folder)
    device, choice = (
        pick_device(config.compute.device),
        config.task_type_of(source).backbone_of(method),
    )
    return float(validator(config, layout, source, device, choice)(learner.to(device)))


def _silent(share: float, text: str) -> None:
    """No progress: a study shows its own."""


def tune(
    config: Config,
    root: Path,
    source: str,
    method: str,
    trials: int,
    seconds: float,
    evaluate: Callable[[dict[str, Any]], float] | None = None,
) -> optuna.Study:
    """Bring the study of (source, method) to ``trials`` trials, or stop after ``seconds``.

    The first trial is the settings in ``params.yaml``. A diverged trial counts, with the worst
    score.

    Args:
        evaluate: score of settings; by default :func:`score`.

    Raises:
        NothingToTune: the method has no setting that is searched.
        InputError: it diverges with all settings tried, or none could be tried to the end.
    """
    base = dict(config.settings_of(source, method))
    where = f"params.yaml: settings.{source}.{method}"
    name = config.task_type_of(source).variant(method).method
    cls = learner_class(name)
    choice = config.task_type_of(source).backbone_of(method)
    space = searched(cls, BACKBONES.load(choice.name))
    if not space:
        raise NothingToTune(f"{method}: has no setting that is searched")
    defaults = method_settings(name, base, where).model_dump()
    fixed = {name: value for name, value in base.items() if name not in space}
    bare, seed = with_settings(config, source, method, fixed), config.seeds[0]
    keys = Keys(bare, Layout(root))
    key = (
        keys.backbone(source, Pretraining(), seed)
        if method == BACKBONE
        else keys.learner(source, method, seed)
    )
    (root / "studies").mkdir(parents=True, exist_ok=True)
    database = root / "studies/studies.db"
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{database}",
            study_name=f"{source}/{method}/{key[:12]}",
            direction="maximize",
            load_if_exists=True,
        )
    except DBAPIError as error:
        raise InputError(
            f"{database}: cannot be used ({error.orig}). Make it writable, or delete it: "
            "the trials of its studies are run again."
        ) from error
    if all(trial.value == DIVERGED for trial in finished(study)):  # or there is none
        study.enqueue_trial({n: defaults[n] for n in space}, skip_if_exists=True)
    score_of = evaluate or (lambda settings: score(config, root, source, method, settings))

    def objective(trial: optuna.Trial) -> float:
        found = {n: _suggested(trial, n, within) for n, within in space.items()}
        try:
            return score_of(base | found)
        except RuntimeError as error:  # diverged: a fact about the settings
            trial.set_user_attr("error", str(error))
            return DIVERGED

    deadline = time.monotonic() + seconds
    while len(finished(study)) < trials and time.monotonic() < deadline:
        draw = rng.seed_of(0, "tune", source, method, len(study.trials)) % 2**31
        # seeded by the number of the trial, so that resuming is exact
        study.sampler = optuna.samplers.TPESampler(seed=draw, n_startup_trials=4)
        study.optimize(objective, n_trials=1)
    done = finished(study)
    if not done:
        raise InputError(f"{where}: no trial was finished in {seconds:g} seconds: raise --seconds")
    if all(trial.value == DIVERGED for trial in done):
        raise InputError(
            f"{where}: training diverged in all {len(done)} finished trials of {study.study_name}. "
            "Lower the learning rates in params.yaml, which the next trial takes, and raise "
            f"--trials or --seconds. {done[-1].user_attrs}"
        )
    return study


def _suggested(trial: optuna.Trial, name: str, within: Range) -> Any:
    """The trial's value of a setting."""
    if isinstance(within, Choice):
        return trial.suggest_categorical(name, within.values)
    return trial.suggest_float(name, within.low, within.high, log=isinstance(within, Log))


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Completed trials: what was cut short does not count and is tried again."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def apply(path: Path, study: optuna.Study, source: str, method: str) -> dict[str, Any]:
    """Write the best settings into ``params.yaml``, with the study's name; comments are kept."""
    document = opened(text_of(path))
    best = {
        n: float(f"{v:.3g}") if isinstance(v, float) else v for n, v in study.best_params.items()
    }
    for name, value in best.items():
        put(document, ["settings", source, method, name], value, str(path))
    note = f"study {study.study_name}, {len(finished(study))} trials"
    document["settings"][source].yaml_add_eol_comment(note, method)
    write_text(path, written(document))
    return best
