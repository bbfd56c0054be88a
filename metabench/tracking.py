"""MLflow, and only here: one run per cell, written by the driver after the results are on disk.

Tracking may fail without loss: leaderboards read result files, never MLflow.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# an unreachable server must not hold up results: fail fast, then use the local store
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

CHUNK = 1000
"""Metrics per request that every MLflow store accepts."""


def default_uri() -> str:
    """The local store: ``mlflow.db`` in the working directory, by its absolute path."""
    return f"sqlite:///{Path('mlflow.db').resolve()}"


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
    wanted = os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    for uri in dict.fromkeys([wanted, default_uri()]):
        for attempt in range(2):
            try:
                return _log(uri, record, curve, results, digests, artifacts, profile)
            except Exception as error:  # MLflow raises many kinds; none may cost a result
                reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
                time.sleep(0.5 * (attempt + 1))
        fallback = "the local store" if uri != default_uri() else "no store"
        warnings.warn(f"MLflow at {uri} failed ({reason}); the result is safe, using {fallback}.")
    return None


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
    experiment = _experiment(client, f"metabench-{profile}")
    same = f"tags.cell_key = '{record['key']}'"
    for run in client.search_runs([experiment], same):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        client.set_terminated(run.info.run_id, "KILLED")
    name = f"{record['source']}/{record['method']}/s{record['seed']}"
    run_id = str(client.create_run(experiment, run_name=name).info.run_id)
    now = int(time.time() * 1000)
    tags = {
        key: record[key] for key in ("source", "method", "family", "seed", "transductive", "paper")
    } | {"profile": profile, "cell_key": record["key"], "git_commit": record["git_commit"]}
    tags |= {
        f"episode_hash.{setting.replace('/', '.')}": value
        for setting, value in record["episode_hashes"].items()
    }
    params = {"backbone": record["backbone"], "start": record["start"]} | {
        f"settings.{name}": value for name, value in record["settings"].items()
    }
    metrics = [
        Metric(column, float(row[column]), now, int(row["examples"]))
        for _, row in curve.iterrows()
        for column in ("train_loss", "val")
    ]
    costs = {k: v for k, v in record.items() if isinstance(v, int | float) and k != "seed"}
    finals = {f"cost.{k}": float(v) for k, v in costs.items() if not isinstance(v, bool)}
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
    """Means by target and setting, such as ``acc.digits.5w1s`` or ``mse.sinusoid.10s.step1``."""
    found = {}
    groups: Iterable[tuple[Any, pd.DataFrame]] = results.groupby(
        ["metric", "target", "ways", "shots", "steps"]
    )
    for (metric, target, ways, shots, steps), rows in groups:
        setting = f"{ways}w{shots}s" if ways else f"{shots}s"
        name = f"{'acc' if metric == 'accuracy' else metric}.{target}.{setting}"
        found[name.replace(":", ".") + ("" if steps < 0 else f".step{steps}")] = float(
            rows["value"].mean()
        )
    return found


def _experiment(client: Any, name: str) -> str:
    """The experiment's id; created once, serially: first writers on a new store would collide."""
    with filelock.FileLock(".mlflow.lock"):
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))
