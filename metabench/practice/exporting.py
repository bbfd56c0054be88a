"""A learner as an MLflow model that anybody can serve."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from metabench.files import InputError, told
from metabench.practice.estimator import FewShotClassifier
from metabench.registry import Trust
from metabench.tracking.models import learner_folder, save_model


def export(run: str | Path, folder: Path, trust: Trust = False) -> None:
    """Write the learner of ``run`` (a folder or an MLflow run) as an MLflow model that serves.

    The learner is opened and the model answers a made-up task before it takes its place.

    Args:
        trust: which dotted paths of the learner may be imported, here and in service.

    Raises:
        InputError: no such learner, one that cannot serve, or ``folder`` holds something already
            or cannot be written; then nothing is left in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already. Delete it or name another folder.")
    with learner_folder(run) as learner, tempfile.TemporaryDirectory() as staging:
        classifier = FewShotClassifier.from_run(learner, trust=trust)
        made = Path(staging) / "model"
        save_model(learner, made)
        _try(made, classifier)
        try:
            with told(folder):
                shutil.copytree(made, folder, dirs_exist_ok=True)
        except BaseException:  # half a model would be taken for one; there was nothing here before
            shutil.rmtree(folder.resolve(), ignore_errors=True)
            raise


def _try(model: Path, classifier: FewShotClassifier) -> None:
    """Have a model answer a made-up task of its kind.

    Raises:
        InputError: it cannot be loaded, or does not answer.
    """
    import mlflow

    task, shape = classifier.learner_.task, classifier.example_shape
    classes = [str(i) for i in range(2 if classifier.learner_.variable_ways else task.ways)]
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
