"""Hyper-parameters chosen on ``val`` episodes: the same number of trials for every method.

What is searched is decided by the names of a method's settings, alike for all methods; where the
search starts is the method's own default. A study lives in a sqlite file and goes on where it
stopped; its name holds the digest of all that a score depends on, so that a study never mixes
scores of different code, data or budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from sqlalchemy.exc import DBAPIError

from metabench import rng
from metabench.backbones import BACKBONES
from metabench.backbones.base import Backbone
from metabench.config import Config
from metabench.config.names import BACKBONE
from metabench.files import InputError, write_text
from metabench.methods.base import Settings
from metabench.pipeline.cells import pretrain_cell, train_cell, validator
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from metabench.pipeline.validation import learner_class, method_settings
from metabench.runtime import pick_device

SPACE: dict[str, tuple[float, float]] = {
    "lr": (3e-4, 2e-2),
    "inner_lr": (5e-3, 0.5),
    "finetune_lr": (1e-3, 0.2),
    "head_lr": (5e-3, 0.5),
    "c": (0.1, 100.0),
    "penalty": (0.01, 100.0),
    "scale": (1.0, 50.0),
    "alpha": (1e-3, 10.0),
    "temperature": (1.0, 50.0),
    "beta": (0.05, 20.0),
    "regularisation": (0.05, 20.0),
}
"""Range of each setting, searched on a logarithmic scale; a setting not named here is not tuned."""

DIVERGED = -1e9
"""Score of settings with which training diverges."""


class NothingToTune(InputError):
    """A method has no setting that is searched."""


@dataclass(frozen=True)
class TrialLayout(Layout):
    """The project's layout, but for the learner that is tuned: each trial has a folder of its own.

    The shared backbone is the project's, unless it is what is tuned.
    """

    trial: str = ""
    tuned: str = ""

    def backbone(self, source: str, seed: int) -> Path:
        """Folder of the trial where backbones are tuned, of the project otherwise."""
        return self._trial(seed) if self.tuned == BACKBONE else super().backbone(source, seed)

    def learner(self, source: str, method: str, seed: int) -> Path:
        """Folder of the trial for what is tuned, of the project for all else."""
        return self._trial(seed) if method == self.tuned else super().learner(source, method, seed)

    def _trial(self, seed: int) -> Path:
        return self.root / "studies/runs" / self.trial / self.tuned / str(seed)


def searched(settings: type[Settings], backbone: type[Backbone]) -> dict[str, tuple[float, float]]:
    """The part of :data:`SPACE` that a method has, with its own or its backbone's ranges."""
    space = SPACE | backbone.ranges | settings.ranges
    return {name: space[name] for name in settings.model_fields if name in space}


def with_settings(config: Config, source: str, method: str, settings: dict[str, Any]) -> Config:
    """``config`` with other settings of one method."""
    methods = {**config.methods, source: {**config.methods.get(source, {}), method: settings}}
    return config.model_copy(update={"methods": methods})


def score(config: Config, root: Path, source: str, method: str, settings: dict[str, Any]) -> float:
    """Train with ``settings`` and the first seed; the score on the frozen ``val`` episodes."""
    config = with_settings(config, source, method, settings)
    seed = config.seeds[0]
    trial = key_of(source=source, method=method, settings=settings)[:16]
    layout = TrialLayout(root, trial, method)
    if method == BACKBONE:
        pretrain_cell(_silent, config, layout, source, seed)
        folder = layout.backbone(source, seed)
    else:
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
    base = dict(config.methods.get(source, {}).get(method, {}))
    where = f"params.yaml: methods.{source}.{method}"
    name = config.task_type_of(source).variant(method).method
    cls = learner_class(name)
    choice = config.task_type_of(source).backbone_of(method)
    space = searched(cls.Settings, BACKBONES.load(choice.name))
    if cls.source_training == "none":
        space.pop("lr", None)
    if not space:
        raise NothingToTune(f"{method}: has no setting that is searched ({', '.join(SPACE)})")
    defaults = method_settings(name, base, where).model_dump()
    fixed = {name: value for name, value in base.items() if name not in space}
    bare, seed = with_settings(config, source, method, fixed), config.seeds[0]
    keys = Keys(bare, Layout(root))
    is_backbone = method == BACKBONE
    key = keys.backbone(source, seed) if is_backbone else keys.learner(source, method, seed)
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
        start = {n: min(max(defaults[n], low), high) for n, (low, high) in space.items()}
        study.enqueue_trial(start, skip_if_exists=True)
    score_of = evaluate or (lambda settings: score(config, root, source, method, settings))

    def objective(trial: optuna.Trial) -> float:
        found = {n: trial.suggest_float(n, *bounds, log=True) for n, bounds in space.items()}
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


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Completed trials: what was cut short does not count and is tried again."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def apply(path: Path, study: optuna.Study, source: str, method: str) -> dict[str, Any]:
    """Write the best settings into ``params.yaml``, with the study's name; comments are kept."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(sequence=4, offset=2)
    document = yaml.load(path.read_text(encoding="utf-8"))
    best = {n: float(f"{v:.3g}") for n, v in study.best_params.items()}
    section = document["methods"][source]
    section[method] = CommentedMap(dict(section.get(method, {})) | best)
    section[method].fa.set_flow_style()  # on one line
    section.yaml_add_eol_comment(f"study {study.study_name}, {len(finished(study))} trials", method)
    text = StringIO()
    yaml.dump(document, text)
    write_text(path, text.getvalue())
    return best
