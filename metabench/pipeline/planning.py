"""What each stage of the graph depends on: params, code, and files from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metabench.config import Config
from metabench.files import digest
from metabench.pipeline.cell_fingerprints import (
    by_shots,
    dataset_fingerprint,
    encoder_fingerprint,
    episodes_fingerprint,
    evaluation_fingerprint,
    external_weights,
    learner_fingerprint,
    pretrain_fingerprint,
)
from metabench.pipeline.embeddings import encoders_of
from metabench.pipeline.fingerprint import code_fingerprint
from metabench.pipeline.part import WHOLE
from metabench.pipeline.pretrainings import levels_of
from metabench.pipeline.studies import studies_of

REPORTING = (
    "metabench.pipeline.results", "metabench.reports.writing", "metabench.tracking.best",
)  # fmt: skip


def fingerprints(config: Config) -> dict[str, Any]:
    """What every stage depends on, by the name of its file in ``data/plan``."""
    task_types = config.task_types.values()
    sources = [source for task_type in task_types for source in task_type.sources]
    values = {k: v for k, v in config.values().items() if k not in ("compute", "settings")}
    pretrain: dict[str, dict[str, Any]] = {source: {} for source in sources}
    for source, pretraining, level, seed in WHOLE.backbones(config):
        found = pretrain_fingerprint(config, source, pretraining) | {"cells": []}
        cells = pretrain[source].setdefault(str(pretraining), found)["cells"]
        cells.append(f"{level}/{seed}")
    return {
        "download": {name: dataset_fingerprint(config, name) for name in config.used},
        "episodes": {name: episodes_fingerprint(config, name) for name in config.used},
        "embed": {
            name: {
                file: encoder_fingerprint(frozen) for file, frozen in encoders_of(task_type).items()
            }
            for task_type in task_types
            for name in task_type.used
        },
        "pretrain": pretrain,
        "train": {source: _learners(config, source) for source in sources},
        "evaluate": {
            source: evaluation_fingerprint(config, source) | _asked_of(config, source)
            for source in sources
        },
        "aggregate": {
            "code": code_fingerprint(*REPORTING),
            "params": values,
            "studies": {str(path): digest(path) for path in studies_of(config.profile)},
        },
    }


def _learners(config: Config, source: str) -> dict[str, Any]:
    """What the learners of ``source`` depend on."""
    return {
        name: learner_fingerprint(config, source, name)
        | _cells(config, source, name)
        | {"by_shots": by_shots(config, source, name)}
        for name in config.task_type_of(source).methods
    }


def _cells(config: Config, source: str, name: str) -> dict[str, Any]:
    """At which levels and with which seeds there are learners."""
    levels = [str(level) for level in levels_of(config, source, name)]
    return {"levels": levels, "seeds": config.seeds_of(source, name)}


def _asked_of(config: Config, source: str) -> dict[str, Any]:
    """Which results of ``source`` there shall be."""
    task_type = config.task_type_of(source)
    return {
        "targets": task_type.datasets,
        "evaluation": task_type.evaluation.model_dump(mode="json"),
        "out_of_scope": task_type.out_of_scope,
        "learners": {
            name: {
                "backbone": task_type.backbone_of(name).model_dump(mode="json"),
                "skip": task_type.variant(name).skip,
            }
            | _cells(config, source, name)
            for name in task_type.methods
        },
    }


def outside_files(config: Config) -> list[Path]:
    """Files of weights that are found by the code of backbones, and named nowhere."""
    backbones = {
        task_type.backbone_of(name)
        for task_type in config.task_types.values()
        for name in task_type.methods
    }
    return sorted({path for backbone in backbones if (path := external_weights(backbone))})
