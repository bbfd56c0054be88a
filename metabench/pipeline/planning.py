"""What each stage of the graph depends on: params, code, and files from outside."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from metabench.backbones import BACKBONES
from metabench.config import TRACKS, Config
from metabench.data import DATASETS
from metabench.pipeline.embeddings import encoders_of, external_facts, external_weights
from metabench.pipeline.fingerprint import code_of
from metabench.pipeline.keys import OPEN_SET, learner_facts, pretrain_facts


def facts_of(config: Config) -> dict[str, Any]:
    """What every stage depends on, by the name of its file in ``data/plan``."""
    found: dict[str, Any] = {
        "aggregate": {"code": code_of("metabench.pipeline.results", "metabench.tracking.best")},
        "embed": embed_facts(config),
    }
    for name in config.datasets:
        found[f"datasets/{name}"] = dataset_facts(name)
        found[f"episodes/{name}"] = episodes_facts(config, name)
    for label in TRACKS:
        for source in getattr(config, label).sources:
            found |= source_facts(config, source)
    return found


def outside_files(config: Config) -> list[Path]:
    """Files of weights that are found by the code of backbones, and named nowhere."""
    tracks = [getattr(config, label) for label in TRACKS if getattr(config, label).sources]
    names = {track.backbone_of(name).name for track in tracks for name in track.methods}
    return [path for name in sorted(names) if (path := external_weights(name))]


def dataset_facts(name: str) -> dict[str, Any]:
    """What the arrays of a dataset depend on; its raw files are checked by digest elsewhere."""
    module = DATASETS.module(name)
    found: dict[str, Any] = {"code": code_of("metabench.data.download", module)}
    variable = getattr(importlib.import_module(module), "VARIABLE", None)
    return found | ({variable: os.environ.get(variable)} if variable else {})


def episodes_facts(config: Config, name: str) -> dict[str, Any]:
    """What the frozen episodes of a dataset depend on, its examples apart."""
    track = config.track_of(name)
    found: dict[str, Any] = {"code": code_of("metabench.pipeline.cells")}
    if DATASETS.load(name).family is not None:
        found["family"] = code_of(DATASETS.module(name))
    if name in track.datasets:
        found["evaluation"] = track.evaluation.model_dump(mode="json", exclude={"steps"})
    if name in track.sources:
        found["training"] = track.training.model_dump(mode="json")
        found["val_episodes"] = track.budget.val_episodes
    return found


def embed_facts(config: Config) -> dict[str, Any]:
    """What the vectors of frozen encoders depend on, the examples apart."""
    tracks = {label: getattr(config, label) for label in TRACKS}
    encoders = {label: found for label in TRACKS if (found := encoders_of(tracks[label]))}
    used = sorted({encoder for found in encoders.values() for encoder in found})
    return {
        "code": code_of("metabench.pipeline.embeddings", *map(BACKBONES.module, used)),
        "external": {encoder: external_facts(encoder) for encoder in used},
        "tracks": {
            label: (found, tracks[label].datasets, tracks[label].outside)
            for label, found in encoders.items()
        },
    }


def source_facts(config: Config, source: str) -> dict[str, Any]:
    """What the stages of ``source`` depend on, the output of other stages apart."""
    track = config.track_of(source)
    facts = {f"pretrain/{source}": pretrain_facts(config, source) | {"seeds": config.seeds}}
    learners = {}
    for name in track.methods:
        seeds = {"seeds": config.seeds_of(source, name)}
        facts[f"train/{source}/{name}"] = learner_facts(config, source, name) | seeds
        backbone = track.backbone_of(name).model_dump(mode="json")
        learners[name] = seeds | {"backbone": backbone, "skip": track.variant(name).skip}
    facts[f"evaluate/{source}"] = {
        "code": code_of("metabench.pipeline.evaluating", *([OPEN_SET] if track.outside else [])),
        "targets": track.datasets,
        "evaluation": track.evaluation.model_dump(mode="json"),
        "outside": track.outside,
        "learners": learners,
    }
    return facts
