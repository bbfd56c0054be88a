"""Which learner of a source is the best, and how it goes into service."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from metabench.cells import Cell, load_learner, trusted_of, validator
from metabench.config import Config
from metabench.estimator import FewShotClassifier, learner_folder
from metabench.files import InputError, read_record, write_json
from metabench.layout import Layout
from metabench.methods import METHODS
from metabench.registry import Trust
from metabench.runtime import pick_device
from metabench.tracking import log_best, log_report, save_model

PATIENCE_MS = 500.0
"""How long whoever asks a service may have to wait for an adaptation."""


class Score(BaseModel):
    """What is kept of a learner that did not train: its accuracy on ``val`` episodes."""

    val: float


class Timing(BaseModel):
    """Of a result's record: how long the learner takes to adapt."""

    adapt_ms: float


def best_on_val(config: Config, layout: Layout, source: str) -> tuple[Path, float] | None:
    """Folder and validation accuracy of the best learner of ``source``.

    Test episodes have no say. The method with the best mean over seeds is taken, and of its seeds
    the best. Learners that did not train have no recorded score and are scored here, once, on the
    same ``val`` episodes. What a service cannot use is left out: transductive methods, whose answer
    depends on what else was asked, those with a fixed number of classes, and learners that were
    measured to take longer than :data:`PATIENCE_MS` to adapt to a task.

    Returns:
        None when no method of ``source`` can be served.
    """
    device, track = pick_device(config.compute.device), config.track_of(source)
    rows = []
    for method in track.methods:
        cls = METHODS.load(track.variant(method).method)
        if cls.transductive or not cls.any_ways:
            continue
        seeds = config.seeds_of(source, method)
        records = [layout.result(source, method, seed).with_suffix(".json") for seed in seeds]
        if not seeds or min(read_record(path, Timing).adapt_ms for path in records) > PATIENCE_MS:
            continue
        for seed in seeds:
            folder = layout.run(source, method, seed)
            cell = Cell.read(folder)
            val, kept = cell.val, layout.root / "data/val" / f"{cell.key}.json"
            if val is None:
                with suppress(InputError):  # not scored yet, or the score is damaged
                    val = read_record(kept, Score).val
            if val is None:
                score = validator(config, layout, source, device, track.backbone_of(method))
                val = score(load_learner(folder, trusted_of(track, method))[0].to(device))
                write_json(kept, {"val": val})
            rows.append({"method": method, "folder": folder, "val": val})
    if not rows:
        return None
    scores = pd.DataFrame(rows)
    winner = scores.groupby("method", sort=False)["val"].mean().idxmax()
    best = scores[scores["method"] == winner].sort_values("val", kind="stable").iloc[-1]
    return best["folder"], float(best["val"])


def publish(config: Config, layout: Layout, git_commit: str) -> None:
    """Log the report and the best learner of each source of images or texts; never raises."""
    log_report(layout.root / config.reports, config.profile, git_commit)
    for source in (*config.classification.sources, *config.text.sources):
        try:
            found = best_on_val(config, layout, source)
            if found is not None:
                folder, val = found
                trust = trusted_of(config.track_of(source), folder.parent.name)
                _, cell = load_learner(folder, trust)
                log_best(folder, cell, val, config.profile)
        except Exception as error:  # a report must not fail for want of a model
            warnings.warn(f"best learner of {source} not logged ({type(error).__name__}: {error})")


def export(run: str | Path, folder: Path, trust: Trust = False) -> None:
    """Write the learner of ``run`` (a folder or an MLflow run) as an MLflow model that serves.

    The learner is opened and the model answers a made-up task before it takes its place.

    Args:
        trust: which dotted paths of the learner may be imported, here and in service.

    Raises:
        InputError: no such learner, one that cannot serve, or ``folder`` holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already. Delete it or name another folder.")
    with learner_folder(run) as learner, tempfile.TemporaryDirectory() as staging:
        classifier = FewShotClassifier.from_run(learner, trust=trust)
        made = Path(staging) / "model"
        save_model(learner, made)
        _try(made, classifier)
        shutil.copytree(made, folder, dirs_exist_ok=True)


def _try(model: Path, classifier: FewShotClassifier) -> None:
    """Have a model answer a made-up task of its kind.

    Raises:
        InputError: it cannot be loaded, or does not answer.
    """
    import mlflow

    task, shape = classifier.learner_.task, classifier.cell_["input_shape"]
    classes = [str(i) for i in range(2 if classifier.learner_.any_ways else task.ways)]
    if task.kind == "text":
        examples: list[Any] = [f"the text of class {label}" for label in classes]
    else:
        made = np.random.default_rng(0).integers(0, 256, (len(classes), *shape))
        examples = made.tolist()
    try:
        served = mlflow.pyfunc.load_model(str(model))
        served.predict([{"support_x": examples, "support_y": classes, "query_x": examples}])
    except Exception as error:
        raise InputError(f"{classifier.run}: opens, but does not serve ({error})") from error
