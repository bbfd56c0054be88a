"""The page of MLflow's UI on which methods are compared: which runs, in what order, which columns.

MLflow 3 opens its pages for language models unless an address says otherwise. What a page shows it
reads from a tag of the experiment: a shared view, as its own button "Views" makes them.
"""

from __future__ import annotations

import json

from metabench.config import Config
from metabench.tracking.store import experiment_name, look_up

NAME = "metabench"
TAG = f"mlflow.sharedViewState.{NAME}"
WIDTHS = {"tags": 150, "metrics": 160}
"""Pixels of a column."""
MOST_SCORES = 40
"""Columns of scores; MLflow takes 5000 characters in a tag."""


def score_name(metric: str, target: str, setting: str) -> str:
    """The name of a score in a run, such as ``acc/digits.5w1s`` or ``mse/sinusoid.10s``."""
    short = "acc" if metric == "accuracy" else metric
    return f"{short}/{target}.{setting}".replace(":", ".")


def view_of(config: Config) -> str:
    """The view in which the learners of a profile are rows, by the first of their scores."""
    scores: dict[str, bool] = {}  # whether lower is better
    for label, task_type in config.task_types.items():
        error = label == "regression"
        for method in task_type.methods:
            for target, setting in task_type.evaluations_of(method):
                name = score_name("mse" if error else "accuracy", target, setting.label)
                scores[name] = error
    metrics = [*list(scores)[:MOST_SCORES], "cost/train_seconds", "cost/adapt_ms"]
    columns = {f"tags.`{name}`": WIDTHS["tags"] for name in ("source", "method", "family")}
    columns |= {f"metrics.`{name}`": WIDTHS["metrics"] for name in metrics}
    view = {
        "searchFilter": "tags.kind = 'cell'",
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": scores.get(metrics[0], True),
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": columns,
    }
    return json.dumps(view)


def page_of(uri: str, profile: str | None) -> str:
    """Where a server on the store at ``uri`` shows the runs of a profile, or all experiments.

    Raises:
        InputError: the store cannot be used.
    """
    found = look_up(uri, experiment_name(profile)) if profile else None
    if found is None:
        return "/#/experiments?workflowType=machine_learning"
    view = f"&viewStateShareKey={NAME}" if TAG in found.tags else ""
    return f"/#/experiments/{found.experiment_id}/runs?workflowType=machine_learning{view}"
