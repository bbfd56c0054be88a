"""Keys of cells: the digest of all that a cell's result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metabench.backbones import BACKBONES
from metabench.config import BackboneChoice, Config, TaskType
from metabench.config.names import BACKBONE
from metabench.data import DATASETS
from metabench.data.base import header_of
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import once
from metabench.learning.metrics import METRICS
from metabench.learning.pretraining import Pretrain
from metabench.methods import METHODS
from metabench.pipeline.embeddings import external_fingerprint
from metabench.pipeline.fingerprint import code_fingerprint, files_of, key_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.validation import method_settings, starts_shared

CHAMPIONS = "champions"
"""Folder of the episodes, and name of their draws, on which the camps' champions are chosen."""

TRAINING, EVALUATION = "metabench.pipeline.cells", "metabench.pipeline.evaluating"
OPEN_SET = "metabench.learning.open_set"
"""Modules whose code, with all that it imports, trains and evaluates cells; they import this."""


def frozen_episodes_of(folder: Path) -> list[FrozenEpisodes]:
    """All frozen episodes of a folder, by name."""
    return [FrozenEpisodes.load(path) for path in sorted(folder.glob("*.npz"))]


def content_of(layout: Layout, name: str) -> str:
    """Digest of the examples of a dataset."""
    return once(_content, layout.processed(name) / "classes.json")


def _content(path: Path) -> str:
    return header_of(path.parent).digest


def episode_hash(path: Path) -> str:
    """Hash of frozen episodes.

    Raises:
        InputError: missing or damaged.
    """
    return once(_hash, path)


def _hash(path: Path) -> str:
    return FrozenEpisodes.load(path).hash


def _shared_fingerprint(config: Config, source: str, backbone: BackboneChoice) -> dict[str, Any]:
    """What every learner of ``source`` on ``backbone`` depends on, by params and code."""
    task_type = config.task_type_of(source)
    family = [DATASETS.module(source)] if DATASETS.load(source).family is not None else []
    return external_fingerprint(backbone.name) | {
        "backbone": backbone.model_dump(mode="json"),
        "backbone_class": BACKBONES.target(backbone.name),
        "files": files_of(backbone.settings),
        "budget": task_type.budget.model_dump(mode="json"),
        "training": task_type.training.model_dump(mode="json"),
        "code": code_fingerprint(TRAINING, BACKBONES.module(backbone.name), *family),
    }


def pretrain_settings(config: Config, source: str) -> Any:
    """Hyper-parameters of the pretraining on ``source``: ``methods.<source>.backbone``."""
    values = config.methods.get(source, {}).get(BACKBONE, {})
    return method_settings(BACKBONE, values, f"params.yaml: methods.{source}.{BACKBONE}")


def pretrain_fingerprint(config: Config, source: str) -> dict[str, Any]:
    """What the pretraining on ``source`` depends on by params and code, for plan and key alike."""
    return _shared_fingerprint(config, source, config.task_type_of(source).backbone) | {
        "settings": pretrain_settings(config, source).model_dump(mode="json"),
        "method_code": code_fingerprint(Pretrain.__module__),
    }


def learner_fingerprint(config: Config, source: str, method: str) -> dict[str, Any]:
    """What (source, method or variant) depends on by params and code, for plan and key alike."""
    task_type = config.task_type_of(source)
    name, settings = task_type.variant(method).method, config.settings_of(source, method)
    return _shared_fingerprint(config, source, task_type.backbone_of(method)) | {
        "method": method,
        "method_class": METHODS.target(name),
        "method_code": code_fingerprint(METHODS.module(name)),
        "method_files": files_of(settings),
        "settings": settings,
    }


def _source_key(layout: Layout, source: str, seed: int, **parts: Any) -> str:
    """Key of what is trained on ``source``: its data, its validation episodes, and ``parts``."""
    val = sorted(layout.episodes(source, "val").glob("*.npz"))
    data = content_of(layout, source)
    return key_of(seed=seed, data=data, val=[episode_hash(path) for path in val], **parts)


def pretrain_key(config: Config, layout: Layout, source: str, seed: int) -> str:
    """Key of the pretrained backbone of (source, seed)."""
    found = pretrain_fingerprint(config, source)
    return _source_key(layout, source, seed, fingerprint=found)


def train_key(config: Config, layout: Layout, source: str, method: str, seed: int) -> str:
    """Key of the learner of (source, method or variant, seed)."""
    task_type, start = config.task_type_of(source), None
    cls = METHODS.load(task_type.variant(method).method)
    if starts_shared(cls, task_type.backbone_of(method)):
        start = pretrain_key(config, layout, source, seed)
    found = learner_fingerprint(config, source, method)
    return _source_key(layout, source, seed, start=start, fingerprint=found)


def evaluation_files(task_type: TaskType, layout: Layout, source: str, name: str) -> list[Path]:
    """Files of the test episodes that (source, name) answers, in the order of ``params.yaml``.

    A setting of more ways than the target has test classes asks for classes that learners of the
    same source were trained on: they do not take part.
    """
    found = []
    for target, setting in task_type.evaluations_of(name):
        trained_on = target == source and setting.ways > count_test_classes(layout, target)
        if not trained_on:
            found.append(layout.episodes(target, "test") / f"{setting.label}.npz")
    return found


def champion_files(task_type: TaskType, layout: Layout, source: str, name: str) -> list[Path]:
    """Files of the ``val`` episodes on which (source, name) is scored to choose champions.

    One for each setting that it answers, of the most ways up to the setting's that there are.
    """
    folder, found = layout.episodes(source, CHAMPIONS), []
    for _, setting in task_type.evaluations_of(name):
        forms = (setting.model_copy(update={"ways": w}) for w in range(setting.ways, -1, -1))
        files = (folder / f"{form.label}.npz" for form in forms)
        found += [path for path in files if path.exists()][:1]
    return list(dict.fromkeys(found))


def count_test_classes(layout: Layout, name: str) -> float:
    """Number of test classes of a dataset; no limit where tasks are drawn from a family."""
    if DATASETS.load(name).family is not None:
        return float("inf")
    return once(_count, layout.processed(name) / "classes.json")


def _count(path: Path) -> int:
    return sum(c.partition == "test" for c in header_of(path.parent).classes)


def metrics_fingerprint(task_type: TaskType) -> dict[str, Any]:
    """What the metrics that a task type names depend on, for plan and key alike."""
    names = task_type.evaluation.metrics
    return {
        "metrics": [METRICS.target(name) for name in names],
        "metrics_code": code_fingerprint(*map(METRICS.module, names)),
    }


def evaluate_key(config: Config, layout: Layout, source: str, method: str, seed: int) -> str:
    """Key of a result: the learner's, the episodes', and the code that evaluates."""
    task_type = config.task_type_of(source)
    out_of_scope = {
        target: content_of(layout, name) for target, name in task_type.out_of_scope.items()
    }
    return key_of(
        **(
            {"out_of_scope": out_of_scope, "code_out_of_scope": code_fingerprint(OPEN_SET)}
            if out_of_scope
            else {}
        ),
        **metrics_fingerprint(task_type),
        learner=train_key(config, layout, source, method, seed),
        episodes=[
            episode_hash(path)
            for files in (evaluation_files, champion_files)
            for path in files(task_type, layout, source, method)
        ],
        steps=task_type.evaluation.steps,
        code=code_fingerprint(EVALUATION),
    )
