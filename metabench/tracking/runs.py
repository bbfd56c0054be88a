"""MLflow, and only here: runs written by the driver after the results are on disk.

An experiment ``metabench-<profile>`` holds one run per cell (tag ``kind = cell``), one per report,
and the best learner of each source as a model that ``mlflow models serve`` serves. Tracking may
fail without loss: leaderboards read result files, never MLflow.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import filelock
import pandas as pd

from metabench.config import Config
from metabench.files import InputError, digest, read_json
from metabench.pipeline.layout import Layout
from metabench.pipeline.results import further, read_result
from metabench.shown import masked

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# an unreachable server must not hold up results: fail fast, then use the local store
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# whose working folder has an uv.lock would find it, and pyproject.toml, in every model
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")

T = TypeVar("T")

CHUNK = 1000
"""Metrics per request that every MLflow store accepts."""


def import_mlflow() -> None:
    """Import MLflow, which takes seconds, at a time that suits; the settings above hold for it."""
    import mlflow  # noqa: F401


def default_uri() -> str:
    """The local store: ``mlflow.db`` in the working directory, by its absolute path."""
    return f"sqlite:///{Path('mlflow.db').resolve()}"


def wanted_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or the local store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def check_store(uri: str) -> None:
    """Look whether a local store is a database; MLflow's own attempts take minutes.

    Raises:
        InputError: it is a folder or another file, or cannot be opened.
    """
    scheme, _, place = uri.partition(":///")
    path = Path(place.partition("?")[0])
    if scheme != "sqlite" or not place or path == Path(":memory:"):
        return
    if not path.exists() and path.parent.is_dir() and os.access(path.parent, os.W_OK):
        return  # it will be made
    fix = "Move it away, or set MLFLOW_TRACKING_URI"
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not MLflow's database. {fix}")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        if "locked" not in str(error):  # in use
            reason = f"MLflow's database cannot be opened, or is no database ({error})"
            raise InputError(f"{path}: {reason}. {fix}") from error


def knock(uri: str) -> None:
    """Fail within seconds if nothing is at ``uri``; MLflow's own attempts take a minute."""
    check_store(uri)
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=5).close()


def safely(write: Callable[[str], T], safe: str) -> T | None:
    """``write(uri)`` to the wanted store, else to the local one; warns, never raises.

    Args:
        safe: what is on disk whatever happens, for the warning.
    """
    for uri in dict.fromkeys([wanted_uri(), default_uri()]):
        for attempt in range(2):
            try:
                knock(uri)
                return write(uri)
            except Exception as error:  # MLflow raises many kinds; none may cost a result
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
                if isinstance(error, InputError):
                    break  # trying again would find the same
                time.sleep(0.5 * (attempt + 1))
        fallback = "the local store" if uri != default_uri() else "no store"
        failure = masked(f"MLflow at {uri} failed ({reason})", uri)
        warnings.warn(f"{failure}; {safe} is safe, using {fallback}.")
    return None


def log_cell(
    record: Mapping[str, Any],
    curve: pd.DataFrame,
    results: pd.DataFrame,
    digests: Mapping[str, str],
    artifacts: Sequence[Path],
    profile: str,
) -> str | None:
    """Log one finished cell to ``MLFLOW_TRACKING_URI``, or to the local store.

    A cell that is logged already (same key) is left alone; a run that a crash left open is marked
    killed and the cell is logged again.

    Args:
        record: facts and costs of the cell (``results/**.json``).
        curve: columns ``examples``, ``train_loss``, ``val``.
        results: per-episode rows of the cell.
        digests: digest of each dataset that the cell used.
        artifacts: files to keep with the run.

    Returns:
        The run's id, or None when even the local store failed; never raises.
    """
    return safely(
        lambda uri: _log(uri, record, curve, results, digests, artifacts, profile), "the result"
    )


def _log(
    uri: str,
    record: Mapping[str, Any],
    curve: pd.DataFrame,
    results: pd.DataFrame,
    digests: Mapping[str, str],
    artifacts: Sequence[Path],
    profile: str,
) -> str:
    from mlflow import MlflowClient
    from mlflow.entities import (
        Dataset,
        DatasetInput,
        InputTag,
        Metric,
        Param,
        RunTag,
    )

    client = MlflowClient(tracking_uri=uri)
    experiment = experiment_of(client, f"metabench-{profile}")
    found = finished_run(client, experiment, "cell_key", record["key"])
    if found:
        return found
    name = f"{record['source']}/{record['method']}/s{record['seed']}"
    now = int(time.time() * 1000)
    began = now - int(1000 * record["train_seconds"])  # so that the UI's duration is training's
    run_id = str(client.create_run(experiment, start_time=began, run_name=name).info.run_id)
    tags = {
        key: record[key] for key in ("source", "method", "family", "seed", "transductive", "paper")
    } | {"kind": "cell", "profile": profile, "cell_key": record["key"]}
    tags |= origin_tags(record["git_commit"])
    tags |= {
        f"episode_hash.{setting.replace('/', '.')}": value
        for setting, value in record["episode_hashes"].items()
    }
    params = {"backbone": record["backbone"], "start": record["start"]} | {
        f"settings.{name}": value for name, value in record["settings"].items()
    }
    metrics = [
        Metric(f"curve/{column}", float(row[column]), now, int(row["examples"]))
        for _, row in curve.iterrows()
        for column in ("train_loss", "val")
    ]
    costs = {k: v for k, v in record.items() if isinstance(v, int | float)}
    finals = {
        f"cost/{k}": float(v)
        for k, v in costs.items()
        if not isinstance(v, bool) and k not in ("seed", "val")
    }
    finals |= _scores(results)
    metrics += [Metric(k, v, now, 0) for k, v in finals.items()]
    client.log_batch(
        run_id,
        params=[Param(k, str(v)) for k, v in params.items()],
        tags=[RunTag(k, str(v)) for k, v in tags.items()],
    )
    for start in range(0, len(metrics), CHUNK):
        client.log_batch(run_id, metrics=metrics[start : start + CHUNK])
    client.log_inputs(
        run_id,
        datasets=[
            DatasetInput(
                Dataset(name=name, digest=value[:36], source_type="local", source=name),
                [
                    InputTag(
                        "mlflow.data.context", "source" if name == record["source"] else "target"
                    )
                ],
            )
            for name, value in digests.items()
        ],
    )
    for path in artifacts:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _scores(results: pd.DataFrame) -> dict[str, float]:
    """Means by target and setting, such as ``acc/digits.5w1s`` or ``mse/sinusoid.10s.step1``."""
    found, others = {}, ["nll", "brier", *further(results)]
    groups: Iterable[tuple[Any, pd.DataFrame]] = results.groupby(
        ["metric", "target", "ways", "shots", "steps"]
    )
    for (metric, target, ways, shots, steps), rows in groups:
        setting = f"{ways}w{shots}s" if ways else f"{shots}s"
        where = f"{target}.{setting}".replace(":", ".") + ("" if steps < 0 else f".step{steps}")
        found[f"{'acc' if metric == 'accuracy' else metric}/{where}"] = float(rows["value"].mean())
        means = rows[others].mean().dropna()
        found |= {f"{name}/{where}": float(mean) for name, mean in means.items()}
    return found


def log_report(folder: Path, profile: str, git_commit: str) -> str | None:
    """Log the reports below ``folder`` (tables, figures, pages) as one run; once for each content.

    Returns:
        The run's id, or None when even the local store failed; never raises.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = digest(*(part for path in files for part in (path.name, path)))

    def write(uri: str) -> str:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = experiment_of(client, f"metabench-{profile}")
        found = finished_run(client, experiment, "report_digest", content)
        if found:
            return found
        tags = {"kind": "report", "profile": profile, "report_digest": content}
        run = client.create_run(experiment, run_name="report", tags=tags | origin_tags(git_commit))
        client.log_artifacts(run.info.run_id, str(folder))
        client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    return safely(write, "the report")


def origin_tags(git_commit: str) -> dict[str, str]:
    """Tags from which the UI fills its columns *source* and *version*."""
    return {
        "git_commit": git_commit,
        "mlflow.source.name": "metabench",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit.rstrip("+"),
    }


def finished_run(client: Any, experiment: str, tag: str, value: str) -> str | None:
    """Id of the finished run with this tag; runs that a crash left open are marked killed."""
    for run in client.search_runs([experiment], f"tags.{tag} = '{value}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    return None


def experiment_of(client: Any, name: str) -> str:
    """The experiment's id; created once, serially: first writers on a new store would collide."""
    with filelock.FileLock(".mlflow.lock"):
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))


def track_cell(config: Config, layout: Layout, source: str, method: str, seed: int) -> None:
    """Log a finished cell to MLflow: record, training curve, scores, dataset digests."""
    from metabench.tracking.runs import log_cell

    path, folder = layout.result(source, method, seed), layout.learner(source, method, seed)
    task_type = config.task_type_of(source)
    log_cell(
        record=read_json(path.with_suffix(".json")),
        curve=pd.read_csv(folder / "curve.csv"),
        results=read_result(path),
        digests={
            name: read_json(layout.processed(name) / "classes.json")["digest"]
            for name in task_type.datasets
        },
        artifacts=[folder / "cell.json", folder / "model.safetensors", folder / "curve.csv"],
        profile=config.profile,
    )
