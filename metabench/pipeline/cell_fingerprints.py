"""What each cell depends on by params and code, the outcomes of other cells apart.

The plan of a stage and the keys of its cells are made of these, so that what DVC takes to be
changed and what is computed again are the same.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from metabench.backbones import BACKBONES
from metabench.config import BackboneChoice, Budget, Config
from metabench.data import DATASETS
from metabench.data.builders import builder_of, own_data
from metabench.files import digest, once
from metabench.learning.metrics import METRICS
from metabench.learning.pretraining import Pretrain
from metabench.methods import METHODS
from metabench.pipeline.fingerprint import code_fingerprint, files_of
from metabench.pipeline.overlap import overlap_fingerprint
from metabench.pipeline.pretrainings import Pretraining, recipe, spends
from metabench.pipeline.validation import learner_settings, validate_backbone

TRAINING, EVALUATION = "metabench.pipeline.cells", "metabench.pipeline.evaluating"
OPEN_SET = "metabench.learning.open_set"
"""Modules whose code, with all that it imports, trains and evaluates cells; they import this."""
TEXTS = "metabench.data.text"
"""What makes texts of word pieces, by name: no cell but an encoder's of texts depends on it."""


def external_weights(backbone: BackboneChoice) -> Path | None:
    """The file of external weights of ``backbone`` that its settings do not name, if any."""
    return BACKBONES.load(backbone.name).weights_file(backbone.settings)


def _backbone_fingerprint(backbone: BackboneChoice) -> dict[str, Any]:
    """A backbone before any training: settings, files that they name, external weights."""
    weights = external_weights(backbone)
    return ({"external": once(digest, weights)} if weights else {}) | {
        "backbone": validate_backbone(backbone, f"params.yaml: {backbone.name}"),
        "backbone_class": BACKBONES.target(backbone.name),
        "files": files_of(backbone.settings),
    }


def dataset_fingerprint(config: Config, name: str, root: Path = Path()) -> dict[str, Any]:
    """The arrays of a dataset; the code holds the digests of the raw files.

    Raises:
        InputError: an own file or folder is not there.
    """
    if entry := config.datasets.get(name):
        own = own_data()
        code = code_fingerprint("metabench.data.download", own.__name__)
        return {"code": code, "entry": own.fingerprint(name, entry, root)}
    module = DATASETS.module(name)
    found: dict[str, Any] = {"code": code_fingerprint("metabench.data.download", module)}
    variable = getattr(importlib.import_module(module), "VARIABLE", None)
    return found | ({variable: os.environ.get(variable)} if variable else {})


def episodes_fingerprint(config: Config, name: str, root: Path = Path()) -> dict[str, Any]:
    """The frozen episodes of a dataset."""
    task_type = config.task_type_of(name)
    found: dict[str, Any] = {"code": code_fingerprint(TRAINING)}
    found |= overlap_fingerprint(config, name, root)
    if builder_of(config, name, root).family is not None:
        found["family"] = code_fingerprint(DATASETS.module(name))
    if name in task_type.datasets:
        found["evaluation"] = task_type.evaluation.model_dump(
            mode="json", exclude={"steps", "metrics", "selection", "candidates"}
        )
    if name in task_type.sources:
        found["training"] = task_type.training.model_dump(mode="json")
        found["val_episodes"] = task_type.budget.val_episodes
    return found


def encoder_fingerprint(frozen: BackboneChoice) -> dict[str, Any]:
    """The vectors of a frozen encoder."""
    modules = ["metabench.pipeline.embeddings", BACKBONES.module(frozen.name)]
    if getattr(BACKBONES.load(frozen.name), "reads_texts", False):
        modules.append(TEXTS)
    return _backbone_fingerprint(frozen) | {"code": code_fingerprint(*modules)}


def _shared_fingerprint(
    config: Config, source: str, backbone: BackboneChoice, budget: Budget | None
) -> dict[str, Any]:
    """What every learner of ``source`` on ``backbone`` depends on."""
    task_type = config.task_type_of(source)
    builder = builder_of(config, source)
    family = [DATASETS.module(source)] if builder.family is not None else []
    return _backbone_fingerprint(backbone) | {
        "budget": budget and budget.at(budget.level).model_dump(mode="json"),
        "training": task_type.training.model_dump(mode="json"),
        "augmentation": builder.augmentation,
        "code": code_fingerprint(TRAINING, BACKBONES.module(backbone.name), *family),
    }


def pretrain_fingerprint(config: Config, source: str, pretraining: Pretraining) -> dict[str, Any]:
    """The backbones of (source, pretraining)."""
    task_type = config.task_type_of(source)
    budget = pretraining.budget(task_type.budget)
    return _shared_fingerprint(config, source, task_type.backbone, budget) | {
        "settings": recipe(config, source, pretraining.recipe).model_dump(mode="json"),
        "method_code": code_fingerprint(Pretrain.__module__),
    }


def by_shots(config: Config, source: str, method: str) -> dict[str, Any]:
    """The adaptation settings by shots of (source, method or variant)."""
    return dict(learner_settings(config, source, method).model_dump(mode="json")["by_shots"])


def learner_fingerprint(config: Config, source: str, method: str) -> dict[str, Any]:
    """The training of (source, method or variant), in which settings by shots have no part."""
    task_type = config.task_type_of(source)
    name, given = task_type.variant(method).method, config.settings_of(source, method)
    settings = learner_settings(config, source, method)
    backbone = task_type.backbone_of(method)
    budget = task_type.budget if spends(config, source, method) else None
    return _shared_fingerprint(config, source, backbone, budget) | {
        "method": method,
        "method_class": METHODS.target(name),
        "method_code": code_fingerprint(METHODS.module(name)),
        "method_files": files_of(given),
        "settings": settings.model_dump(mode="json", exclude={"by_shots"}),
    }


def evaluation_fingerprint(config: Config, source: str, root: Path = Path()) -> dict[str, Any]:
    """The results of learners of ``source``, whatever the learner."""
    task_type = config.task_type_of(source)
    asked, metrics = task_type.evaluation, task_type.evaluation.metrics
    overlaps = {name: overlap_fingerprint(config, name, root) for name in task_type.datasets}
    return ({"overlaps": overlaps} if any(overlaps.values()) else {}) | {
        "augmentation": [builder_of(config, name).augmentation for name in task_type.datasets],
        "code": code_fingerprint(EVALUATION, *([OPEN_SET] if task_type.out_of_scope else [])),
        "steps": asked.steps,
        "selection": (asked.selection, asked.candidates) if asked.selection else (),
        "metrics": [METRICS.target(name) for name in metrics],
        "metrics_code": code_fingerprint(*map(METRICS.module, metrics)),
    }
