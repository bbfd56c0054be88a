"""Cells: one trained learner for each (source, method, seed), keyed, atomic and reusable.

A cell's key is the digest of all that its result depends on. A finished cell with the same key is
reused; anything else is computed again. ``cell.json`` is written last, so a folder without it is
unfinished, whatever else it holds.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor

from metabench import rng
from metabench.backbones import build_backbone
from metabench.config import BackboneChoice, Config, Setting, TaskType, setting_label
from metabench.config.names import BACKBONE
from metabench.data import Dataset
from metabench.data.base import header_of
from metabench.data.builders import builder_of
from metabench.episodes.frozen_episodes import FrozenEpisodes, freeze, freeze_tasks
from metabench.episodes.sampling import ArraySource, TaskSource
from metabench.files import (
    InputError,
    atomic,
    digest,
    read_record,
    write_json,
)
from metabench.learning.pretraining import Pretrain
from metabench.learning.scoring import EpisodeSet, mean_score
from metabench.learning.training import AnySource, Report, State, train
from metabench.methods import METHODS
from metabench.methods.base import Method, Task
from metabench.pipeline.checkpoint import CheckpointFile
from metabench.pipeline.embeddings import is_frozen, with_vectors
from metabench.pipeline.fingerprint import git_commit
from metabench.pipeline.keys import CHAMPIONS, Keys, frozen_episodes_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import Cell, Part
from metabench.pipeline.overlap import left_out
from metabench.pipeline.pretrainings import Pretraining, pretraining_of, recipe
from metabench.pipeline.validation import learner_settings
from metabench.runtime import machine, pick_device


class Cost(BaseModel):
    """``cost.json``: what a learner has cost."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    train_seconds: float
    pretrain_seconds: float
    examples: int
    outer_steps: int
    train_flops: float
    train_peak_memory_mb: float
    parameters: int
    trainable_parameters: int


def is_done(folder: Path, key: str, digest_of: Callable[[Path], str] = digest) -> bool:
    """Whether ``folder`` holds the finished cell ``key``, every file of it undamaged."""
    try:
        cell = Cell.read(folder)
        files = {"model.safetensors": cell.weights, **cell.files}
        return cell.key == key and all(digest_of(folder / n) == found for n, found in files.items())
    except (InputError, OSError):
        return False


def examples_of(config: Config, layout: Layout, name: str, backbone: BackboneChoice) -> Dataset:
    """A dataset as ``backbone`` reads it: its own arrays, or a frozen encoder's vectors.

    Vectors have no augmentation, whatever the dataset declares.
    """
    dataset = Dataset.load(layout.processed(name))
    if is_frozen(backbone):
        return with_vectors(dataset, layout.embeddings(name), backbone)
    return replace(dataset, augmentation=builder_of(config, name).augmentation)


def _load_source(
    config: Config,
    layout: Layout,
    name: str,
    seed: int,
    device: torch.device,
    backbone: BackboneChoice,
) -> tuple[AnySource, Task, tuple[int, ...]]:
    """The training side of a dataset, the task it poses, and the shape of an example."""
    builder = builder_of(config, name)
    task_type = config.task_type_of(name)
    if builder.family is not None:
        task = Task("regression", 0, 0, builder.family.outputs)
        return TaskSource(builder.family, seed, device), task, (builder.family.inputs,)
    dataset = examples_of(config, layout, name, backbone)
    share = task_type.budget.level.classes
    source = ArraySource(dataset, seed, device, share)
    if share < 1 and source.classes < task_type.training.ways:
        raise InputError(
            f"params.yaml: budget.source_classes: {share:g} of the training classes of {name} are "
            f"{source.classes}, but training.ways is {task_type.training.ways}. Raise the one or "
            "lower the other."
        )
    task = Task(builder.kind, task_type.training.ways, source.classes)
    return source, task, tuple(dataset.x.shape[1:])


def validator(
    config: Config,
    layout: Layout,
    source: str,
    device: torch.device,
    backbone: BackboneChoice | None = None,
) -> Any:
    """``method -> score`` on the frozen ``val`` episodes of ``source``: higher is better."""
    frozen = frozen_episodes_of(layout.episodes(source, "val"))
    if not frozen:
        raise InputError(f"{layout.episodes(source, 'val')}: no episodes. Run `dvc repro`.")
    family = builder_of(config, source).family
    choice = backbone or config.task_type_of(source).backbone
    dataset = None if family else examples_of(config, layout, source, choice)
    sets = [EpisodeSet.of(f, dataset, None, device) for f in frozen]
    return lambda method: mean_score(method, sets)


def _finish_cell(
    folder: Path,
    method: Method,
    state: State,
    cell: dict[str, Any],
    cost: dict[str, Any],
) -> None:
    with atomic(folder / "model.safetensors") as temporary:
        save_file(_contiguous(method.state_dict()), temporary)
    with atomic(folder / "curve.csv") as temporary:
        empty = pd.DataFrame(columns=["examples", "train_loss", "val"])
        (pd.DataFrame(state.curve) if state.curve else empty).to_csv(temporary, index=False)
    write_json(folder / "cost.json", cost)
    parts = [p for p in (folder / name for name in get_args(Part)) if p.exists()]
    files = {part.name: digest(part) for part in parts}
    write_json(
        folder / "cell.json", cell | {"weights": files.pop("model.safetensors"), "files": files}
    )
    for stale in folder.glob("state-*"):
        stale.unlink()


def _contiguous(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.contiguous().cpu() for name, value in weights.items()}


def _costs(method: Method, state: State, pretraining: Mapping[str, float]) -> dict[str, Any]:
    trained = method.source_training != "none"
    return {
        "train_seconds": state.seconds,
        "pretrain_seconds": pretraining.get("seconds", 0.0),
        "examples": state.spent + pretraining.get("examples", 0),
        "outer_steps": state.step,
        "train_flops": state.flops * state.spent + pretraining.get("flops", 0.0),
        "train_peak_memory_mb": peak_memory_mb(),
        "parameters": sum(p.numel() for p in method.parameters()),
        "trainable_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad)
        if trained
        else 0,
    }


def peak_memory_mb() -> float:
    """Peak memory of this process: of the GPU if one is used, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _build(
    cls: type[Method],
    settings: Any,
    choice: BackboneChoice,
    task: Task,
    shape: tuple[int, ...],
    seed: int,
) -> Method:
    """A fresh method; its random weights are named by the seed, so methods share their start."""
    torch.manual_seed(rng.seed_of(seed, "weights"))
    return cls(build_backbone(choice.name, shape, **choice.settings), task, settings)


def pretrain_cell(
    report: Report, config: Config, layout: Layout, source: str, pretraining: Pretraining, seed: int
) -> None:
    """Pretrain the shared backbone of (source, pretraining, seed)."""
    task_type, device = config.task_type_of(source), pick_device(config.compute.device)
    folder = layout.backbone(source, pretraining, seed)
    key = Keys(config, layout).backbone(source, pretraining, seed)
    if is_done(folder, key):
        return
    choice = task_type.backbone
    data, task, shape = _load_source(config, layout, source, seed, device, choice)
    settings = recipe(config, source, pretraining.recipe)
    method = _build(Pretrain, settings, choice, task, shape, seed).to(device)
    state = train(
        method, data, validator(config, layout, source, device),
        pretraining.budget(task_type.budget), task_type.training, report,
        CheckpointFile(folder / f"state-{key}.pt"),
    )  # fmt: skip
    cell = _describe(BACKBONE, settings, choice, task, shape, source, seed, key, state)
    cell["machine"] = machine(device)
    _finish_cell(folder, method, state, cell, _costs(method, state, {}))


def _describe(
    method: str, settings: Any, choice: BackboneChoice, task: Task, shape: tuple[int, ...],
    source: str, seed: int, key: str, state: State,
) -> dict[str, Any]:  # fmt: skip
    return {
        "key": key,
        "method": method,
        "settings": settings.model_dump(mode="json"),
        "backbone": choice.model_dump(mode="json"),
        "task": asdict(task),
        "input_shape": list(shape),
        "source": source,
        "seed": seed,
        "val": state.best if math.isfinite(state.best) else None,
        "git_commit": git_commit(),
    }


def _take_start(method: Method, folder: Path) -> dict[str, float]:
    """Hand the shared backbone to ``method``; returns what it cost."""
    method.start_from(load_file(folder / "model.safetensors"))
    cost = read_record(folder / "cost.json", Cost)
    return {"seconds": cost.train_seconds, "flops": cost.train_flops, "examples": cost.examples}


def _retake(folder: Path, trained: str, key: str, settings: Any) -> bool:
    """Give the learner in ``folder`` these settings by shots, if its training is the wanted one."""
    try:
        cell = Cell.read(folder)
    except InputError:
        return False
    if cell.trained != trained or not is_done(folder, cell.key):
        return False
    found = {"key": key, "settings": settings.model_dump(mode="json")}
    write_json(folder / "cell.json", cell.model_dump(mode="json", exclude_unset=True) | found)
    return True


def train_cell(
    report: Report, config: Config, layout: Layout, source: str, method: str, seed: int
) -> None:
    """Train (source, method, seed), or prepare it where there is nothing to train."""
    task_type, device = config.task_type_of(source), pick_device(config.compute.device)
    folder, keys = layout.learner(source, method, seed), Keys(config, layout)
    key, trained = keys.learner(source, method, seed), keys.training(source, method, seed)
    settings = learner_settings(config, source, method)
    if is_done(folder, key) or _retake(folder, trained, key, settings):
        return
    name, choice = task_type.variant(method).method, task_type.backbone_of(method)
    data, task, shape = _load_source(config, layout, source, seed, device, choice)
    where = f"params.yaml: settings.{source}.{method}"
    # validations in training take no settings by shots: these may change without training again
    plain = settings.model_copy(update={"by_shots": {}})
    learner = _build(METHODS.load(name), plain, choice, task, shape, seed)
    spent_before: dict[str, float] = {}
    pretraining = pretraining_of(config, source, method)
    if pretraining:
        pretrained = layout.backbone(source, pretraining, seed)
        if not is_done(pretrained, keys.backbone(source, pretraining, seed)):
            raise InputError(
                f"{pretrained}: no pretrained backbone of these params (missing, damaged or of "
                "others). Run `dvc repro pretrain`."
            )
        spent_before = _take_start(learner, pretrained)
    learner.to(device)
    state = State()
    if type(learner).source_training != "none":
        if not any(p.requires_grad for p in learner.parameters()):
            raise InputError(
                f"{where}: {name} on backbone '{choice.name}' has no weights to train. Take a "
                "trainable backbone, or a method that learns nothing from the source."
            )
        budget = pretraining.left(task_type.budget) if pretraining else task_type.budget
        validate = validator(config, layout, source, device, choice)
        checkpoint = CheckpointFile(folder / f"state-{trained}.pt")
        state = train(learner, data, validate, budget, task_type.training, report, checkpoint)
    learner.eval()
    learner.fit_source_statistics(data)
    cell = _describe(name, settings, choice, task, shape, source, seed, key, state)
    cell |= {"trained": trained, "machine": machine(device)}
    if is_frozen(choice):
        cell["example_shape"] = list(Dataset.load(layout.processed(source)).x.shape[1:])
    if pretraining:
        cell["pretrained_on"] = Cell.read(pretrained).machine
    _finish_cell(folder, learner, state, cell, _costs(learner, state, spent_before))


def trusted_of(task_type: TaskType, method: str) -> tuple[str, str]:
    """What ``cell.json`` of ``method`` may name, since ``params.yaml`` does: its own code."""
    return task_type.variant(method).method, task_type.backbone_of(method).name


def fit_to_val(
    setting: Setting, queries: int, members: Sequence[np.ndarray]
) -> tuple[Setting, int] | None:
    """The setting with as many ways, and as many queries, as ``val`` has classes and examples for.

    Args:
        members: examples of each ``val`` class.

    Returns:
        None where there are too few for any episode.
    """
    ways = min(setting.ways, len(members))
    queries = min([queries, *(len(rows) - setting.shots for rows in members)])
    if ways < 2 or queries < 1:
        return None
    return setting.model_copy(update={"ways": ways}), queries


def freeze_dataset(config: Config, layout: Layout, name: str) -> None:
    """Write the frozen ``val`` and champions' episodes (sources only) and ``test`` episodes.

    Test episodes are without classes that a backbone of the task type was pretrained on, as far as
    others suffice. Champions of the camps are chosen on ``val`` classes, in the settings of the
    evaluation as far as there are classes, but on other draws than those that validate training and
    tuning. Files that belong to no setting any more are removed.
    """
    task_type, family = config.task_type_of(name), builder_of(config, name).family
    dataset = None if family else Dataset.load(layout.processed(name))
    header = header_of(layout.processed(name))
    apart = left_out(config, name, layout.root, [c.name for c in header.classes])

    def draw(
        partition: str, ways: int, shots: int, queries: int, count: int, draws: str = ""
    ) -> FrozenEpisodes:
        if family is not None:
            return freeze_tasks(family, draws or partition, shots, queries, count)
        assert dataset is not None
        without = apart if partition == "test" else ()
        frozen = freeze(
            dataset, partition, ways, shots, queries, count, header.digest, draws, without
        )
        return replace(frozen, dataset=name)  # a third party's name is its dotted path

    wanted: dict[Path, FrozenEpisodes] = {}
    for setting in task_type.evaluation.settings if name in task_type.datasets else ():
        if not setting.datasets or name in setting.datasets:
            e = task_type.evaluation
            frozen = draw("test", setting.ways, setting.shots, e.queries, e.episodes)
            wanted[layout.episodes(name, "test") / f"{setting.label}.npz"] = frozen
    if name in task_type.sources:
        t, count = task_type.training, task_type.budget.val_episodes
        ways = 0 if family else t.ways
        for shots in t.shots:
            frozen = draw("val", ways, shots, t.queries, count)
            label = setting_label(ways, shots)
            wanted[layout.episodes(name, "val") / f"{label}.npz"] = frozen
        e, members = task_type.evaluation, [] if dataset is None else dataset.members("val")
        for setting in e.settings:
            asked = fit_to_val(setting, e.queries, members) if dataset else (setting, e.queries)
            if asked is not None:
                form, queries = asked
                path = layout.episodes(name, CHAMPIONS) / f"{form.label}.npz"
                size = (form.ways, form.shots, queries, e.champion_episodes)
                wanted[path] = draw("val", *size, CHAMPIONS)
    for partition in ("val", CHAMPIONS, "test"):
        folder = layout.episodes(name, partition)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.npz"):
            if path not in wanted:
                path.unlink()
    for path, frozen in wanted.items():
        frozen.save(path)
