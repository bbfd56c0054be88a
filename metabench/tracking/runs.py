"""Runs in MLflow, written by the driver after the results are on disk.

An experiment ``metabench-<profile>`` holds one run per cell (tag ``kind = cell``), one per report,
and the best learner of each source as a model that ``mlflow models serve`` serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from metabench.config import Config, setting_label
from metabench.files import digest, read_json
from metabench.pipeline.layout import Layout
from metabench.pipeline.results import LEVEL, further, read_result
from metabench.tracking import view
from metabench.tracking.store import experiment_of, finished_run, origin_tags, safely

CHUNK = 1000
"""Metrics per request that every MLflow store accepts."""


def track_cell(config: Config, layout: Layout, source: str, method: str, seed: int) -> str | None:
    """Log a finished cell: record, training curve, scores, digests of datasets, the learner.

    A cell that is logged already (same key) is left alone; a run that a crash left open is marked
    killed and the cell is logged again.

    Returns:
        The run's id, or None when even the local store failed; never raises on MLflow's account.
    """
    path, folder = layout.result(source, method, seed), layout.learner(source, method, seed)
    record, results = (
        read_json(path.with_suffix(".json")),
        read_result(path).query("partition == 'test' and selection == 'val'"),
    )
    curve = pd.read_csv(folder / "curve.csv")
    datasets = {
        name: read_json(layout.processed(name) / "classes.json")["digest"]
        for name in config.task_type_of(source).datasets
    }

    def write(uri: str) -> str:
        from mlflow import MlflowClient
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        client = MlflowClient(tracking_uri=uri)
        experiment = experiment_of(client, config.profile)
        found = finished_run(client, experiment, "cell_key", record["key"])
        if found:
            return found
        client.set_experiment_tag(experiment, view.TAG, view.view_of(config))
        now = int(time.time() * 1000)
        began = now - int(1000 * record["train_seconds"])  # so that the UI's duration is training's
        level = f"/{layout.level}" if layout.level else ""
        name = f"{source}/{method}{level}/s{seed}"
        run_id = str(client.create_run(experiment, start_time=began, run_name=name).info.run_id)
        facts = ("backbone", "start", *LEVEL)
        params = {name: record[name] for name in facts} | {
            f"settings.{name}": value for name, value in record["settings"].items()
        }
        tags = _tags(record) | {"kind": "cell", "profile": config.profile}
        client.log_batch(
            run_id,
            params=[Param(k, str(v)) for k, v in params.items()],
            tags=[RunTag(k, str(v)) for k, v in tags.items()],
        )
        metrics = [
            Metric(f"curve/{column}", float(row[column]), now, int(row["examples"]))
            for _, row in curve.iterrows()
            for column in curve.columns.drop("examples")
        ]
        finals = _costs(record) | _scores(results)
        metrics += [Metric(k, v, now, 0) for k, v in finals.items()]
        for start in range(0, len(metrics), CHUNK):
            client.log_batch(run_id, metrics=metrics[start : start + CHUNK])
        inputs = []
        for name, content in datasets.items():
            role = InputTag("mlflow.data.context", "source" if name == source else "target")
            data = Dataset(name=name, digest=content[:36], source_type="local", source=name)
            inputs.append(DatasetInput(data, [role]))
        client.log_inputs(run_id, datasets=inputs)
        for name in ("cell.json", "model.safetensors", "curve.csv"):
            client.log_artifact(run_id, str(folder / name))
        client.set_terminated(run_id, "FINISHED")
        return run_id

    return safely(write, "the result")


def _tags(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the UI filters by: the cell's own words, its origin, its episodes, its machines."""
    words = ("source", "method", "family", "seed", "transductive", "paper")
    found = {word: record[word] for word in words} | {"cell_key": record["key"]}
    for setting, value in record["episode_hashes"].items():
        found[f"episode_hash.{setting.replace('/', '.')}"] = value
    for where in ("machine", "trained_on", "pretrained_on"):
        for fact, value in (record[where] or {}).items():
            facts = value if isinstance(value, dict) else {fact: value}
            found |= {f"{where}.{name}": v for name, v in facts.items()}
    return found | origin_tags(record["git_commit"])


def _costs(record: Mapping[str, Any]) -> dict[str, float]:
    """The record's numbers, such as ``cost/train_seconds``."""
    return {
        f"cost/{name}": float(value)
        for name, value in record.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and name not in ("seed", "val", *LEVEL)
    }


def _scores(results: pd.DataFrame) -> dict[str, float]:
    """Means by target and setting, such as ``acc/digits.5w1s`` or ``mse/sinusoid.10s.step1``."""
    found, others = {}, ["nll", "brier", "temperature", "raw_nll", *further(results)]
    groups: Iterable[tuple[Any, pd.DataFrame]] = results.groupby(
        ["metric", "target", "ways", "shots", "steps"]
    )
    for (metric, target, ways, shots, steps), rows in groups:
        setting = setting_label(ways, shots)
        means = {metric: rows["value"].mean()} | dict(rows[others].mean().dropna())
        for name, mean in means.items():
            full = view.score_name(name, target, setting)
            found[full if steps < 0 else f"{full}.step{steps}"] = float(mean)
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
        experiment = experiment_of(client, profile)
        found = finished_run(client, experiment, "report_digest", content)
        if found:
            return found
        tags = {"kind": "report", "profile": profile, "report_digest": content}
        run = client.create_run(experiment, run_name="report", tags=tags | origin_tags(git_commit))
        client.log_artifacts(run.info.run_id, str(folder))
        client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    return safely(write, "the report")
