"""What each stage of the graph depends on: params, code, and files from outside."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from metabench.backbones import BACKBONES
from metabench.config import TASK_TYPES, Config
from metabench.data import DATASETS
from metabench.pipeline.embeddings import encoders_of, external_fingerprint, external_weights
from metabench.pipeline.fingerprint import code_fingerprint
from metabench.pipeline.keys import (
    OPEN_SET,
    learner_fingerprint,
    metrics_fingerprint,
    pretrain_fingerprint,
)


def fingerprints(config: Config) -> dict[str, Any]:
    """What every stage depends on, by the name of its file in ``data/plan``."""
    found: dict[str, Any] = {
        "aggregate": {
            "code": code_fingerprint(
                "metabench.pipeline.results", "metabench.reports.writing", "metabench.tracking.best"
            )
        },
        "embed": embed_fingerprint(config),
    }
    for name in config.datasets:
        found[f"datasets/{name}"] = dataset_fingerprint(name)
        found[f"episodes/{name}"] = episodes_fingerprint(config, name)
    for label in TASK_TYPES:
        for source in getattr(config, label).sources:
            found |= source_fingerprints(config, source)
    return found


def outside_files(config: Config) -> list[Path]:
    """Files of weights that are found by the code of backbones, and named nowhere."""
    task_types = [getattr(config, label) for label in TASK_TYPES if getattr(config, label).sources]
    names = {
        task_type.backbone_of(name).name for task_type in task_types for name in task_type.methods
    }
    return [path for name in sorted(names) if (path := external_weights(name))]


def dataset_fingerprint(name: str) -> dict[str, Any]:
    """What the arrays of a dataset depend on; its raw files are checked by digest elsewhere."""
    module = DATASETS.module(name)
    found: dict[str, Any] = {"code": code_fingerprint("metabench.data.download", module)}
    variable = getattr(importlib.import_module(module), "VARIABLE", None)
    return found | ({variable: os.environ.get(variable)} if variable else {})


def episodes_fingerprint(config: Config, name: str) -> dict[str, Any]:
    """What the frozen episodes of a dataset depend on, its examples apart."""
    task_type = config.task_type_of(name)
    found: dict[str, Any] = {"code": code_fingerprint("metabench.pipeline.cells")}
    if DATASETS.load(name).family is not None:
        found["family"] = code_fingerprint(DATASETS.module(name))
    if name in task_type.datasets:
        e = task_type.evaluation
        found["evaluation"] = e.model_dump(mode="json", exclude={"steps", "metrics"})
    if name in task_type.sources:
        found["training"] = task_type.training.model_dump(mode="json")
        found["val_episodes"] = task_type.budget.val_episodes
    return found


def embed_fingerprint(config: Config) -> dict[str, Any]:
    """What the vectors of frozen encoders depend on, the examples apart."""
    task_types = {label: getattr(config, label) for label in TASK_TYPES}
    encoders = {label: found for label in TASK_TYPES if (found := encoders_of(task_types[label]))}
    used = sorted({encoder for found in encoders.values() for encoder in found})
    return {
        "code": code_fingerprint("metabench.pipeline.embeddings", *map(BACKBONES.module, used)),
        "external": {encoder: external_fingerprint(encoder) for encoder in used},
        "task_types": {
            label: (found, task_types[label].datasets, task_types[label].out_of_scope)
            for label, found in encoders.items()
        },
    }


def source_fingerprints(config: Config, source: str) -> dict[str, Any]:
    """What the stages of ``source`` depend on, the output of other stages apart."""
    task_type = config.task_type_of(source)
    found = {f"pretrain/{source}": pretrain_fingerprint(config, source) | {"seeds": config.seeds}}
    learners = {}
    for name in task_type.methods:
        seeds = {"seeds": config.seeds_of(source, name)}
        found[f"train/{source}/{name}"] = learner_fingerprint(config, source, name) | seeds
        backbone = task_type.backbone_of(name).model_dump(mode="json")
        learners[name] = seeds | {"backbone": backbone, "skip": task_type.variant(name).skip}
    found[f"evaluate/{source}"] = metrics_fingerprint(task_type) | {
        "code": code_fingerprint(
            "metabench.pipeline.evaluating", *([OPEN_SET] if task_type.out_of_scope else [])
        ),
        "targets": task_type.datasets,
        "evaluation": task_type.evaluation.model_dump(mode="json"),
        "out_of_scope": task_type.out_of_scope,
        "learners": learners,
    }
    return found
