"""Learners as MLflow models: logged, exported, opened again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metabench.backbones import BACKBONES
from metabench.files import InputError
from metabench.methods.base import Method
from metabench.pipeline.opening import load_learner
from metabench.registry import Trust
from metabench.shown import masked
from metabench.tracking.store import (
    experiment_of,
    finished_run,
    knock,
    origin_tags,
    safely,
    wanted_uri,
)


@contextmanager
def learner_folder(run: str | Path) -> Iterator[Path]:
    """The folder of a learner, ``runs/<source>/<method>/<level>/<seed>``, or that of an MLflow run.

    Raises:
        InputError: neither of the two.
    """
    run_id = str(run).removeprefix("runs:/")
    if _is_file(Path(run) / "cell.json"):
        yield Path(run)
    elif re.fullmatch("[0-9a-f]{32}", run_id):
        with tempfile.TemporaryDirectory() as folder:
            yield fetch_learner(run_id, Path(folder))
    else:
        raise InputError(
            f"{run}: neither the folder of a trained learner "
            "(runs/<source>/<method>/<level>/<seed>, with a cell.json) nor the id of an MLflow run"
        )


def _is_file(path: Path) -> bool:
    """``path.is_file()``, also of what cannot be a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def open_run(run: str | Path, trust: Trust = False) -> tuple[Method, dict[str, Any]]:
    """The learner of ``run`` and its ``cell.json``.

    Raises:
        InputError: no learner, a damaged one, one that asks for code which is neither registered
            nor trusted, or one for regression.
    """
    with learner_folder(run) as folder:
        learner, cell = load_learner(folder, trust)
    if learner.task.kind == "regression":
        raise InputError(f"{run}: {cell['method']} on {cell['source']} is a regression learner")
    return learner, cell


NEEDED = ("filelock", "mlflow", "numpy", "pandas", "pillow", "psutil", "pyarrow", "pydantic",
          "pyyaml", "requests", "safetensors", "scikit-learn", "torch")  # fmt: skip
"""What a served model imports, beside the package's own code that it carries."""

LEARNER_FILES = ("cell.json", "model.safetensors")
"""What a learner is."""

TEXT_NEEDED = ("tokenizers",)
"""What one that reads texts needs as well."""


def log_best(folder: Path, cell: Mapping[str, Any], val: float, profile: str) -> str | None:
    """Log the learner in ``folder`` as the best of its source: run ``best/<source>`` with a model.

    The model is registered as ``metabench-<profile>-<source>``; a learner that is logged already
    is left alone.

    Args:
        cell: ``cell.json`` of the learner.
        val: its accuracy on ``val`` episodes.

    Returns:
        The run's id, or None when even the local store failed; never raises.
    """

    def write(uri: str) -> str:
        from mlflow import MlflowClient
        from mlflow.entities import LoggedModelOutput

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = experiment_of(client, profile)
        found = finished_run(client, experiment, "best_key", cell["key"])
        if found:
            return found
        tags = {"kind": "best", "profile": profile, "best_key": cell["key"]}
        tags |= {k: str(cell[k]) for k in ("source", "method", "seed")}
        tags |= origin_tags(cell["git_commit"])
        name = f"best/{cell['source']}"
        run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        client.log_metric(run_id, "val", val)
        for file in LEARNER_FILES:
            client.log_artifact(run_id, str(folder / file))
        # step by step: `mlflow.pyfunc.log_model` adds user, paths, branch and remote as tags
        model_id = str(client.create_logged_model(experiment, "model", run_id, tags).model_id)
        with tempfile.TemporaryDirectory() as made:
            save_model(folder, Path(made) / "model", run_id=run_id, model_id=model_id)
            client.log_model_artifacts(model_id, str(Path(made) / "model"))
        client.finalize_logged_model(model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        registered = f"metabench-{profile}-{cell['source']}".replace(":", ".")
        version = _register(client, uri, registered, model_id, run_id)
        links = json.dumps([{"name": registered, "version": version}])
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": links})
        client.set_terminated(run_id, "FINISHED")
        return run_id

    return safely(write, "the learner")


def _register(client: Any, uri: str, name: str, model_id: str, run_id: str) -> int:
    """Make the logged model the next version of the registered model ``name``."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)  # a local registry looks the model up there, whatever the client
    try:
        with contextlib.suppress(mlflow.MlflowException):  # it is there already
            client.create_registered_model(name)
        source = f"models:/{model_id}"
        return int(client.create_model_version(name, source, run_id, model_id=model_id).version)
    finally:
        mlflow.set_tracking_uri(before)


def save_model(learner: Path, folder: Path, **ids: str) -> None:
    """Write a learner as an MLflow model that says nothing of who made it, and where.

    Model from code: the class is in :mod:`metabench.practice.service`, the package goes with it.
    Whoever calls this has opened the learner, so it is trusted in the model, too.

    Args:
        ids: of the run and the logged model that it belongs to, if any.
    """
    import mlflow
    from mlflow.models import Model

    from metabench.pipeline.opening import Cell

    package, cell = Path(__file__).parents[1], Cell.read(learner)
    needed = [*NEEDED, *(TEXT_NEEDED if cell.task.kind == "text" else ())]
    needed += BACKBONES.load(cell.backbone.name).packages
    with tempfile.TemporaryDirectory() as staging:
        for file in LEARNER_FILES:  # and not what else is in the folder
            shutil.copy(learner / file, staging)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(package / "practice/service.py"),
            artifacts={"learner": staging},
            code_paths=[str(package)],
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in needed],
            model_config={"trust": list(cell.dotted)},
            mlflow_model=Model(**ids),
        )
    model = Model.load(str(folder))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(folder / "MLmodel"))


def fetch_learner(run_id: str, folder: Path) -> Path:
    """Download the learner (``cell.json`` and weights) of a run into ``folder``.

    Raises:
        InputError: no such run, or it holds no learner.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = wanted_uri()
    try:
        knock(uri)
        client = MlflowClient(tracking_uri=uri)
        for file in LEARNER_FILES:
            client.download_artifacts(run_id, file, str(folder))
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        wrong = f"run {run_id} at {uri}: holds no learner, or cannot be read ({reason})"
        raise InputError(masked(wrong, uri)) from None  # its text may hold what is masked here
    return folder
