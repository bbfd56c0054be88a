"""Evaluation cells: the per-episode results of one learner, keyed, atomic and reusable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from metabench.config import BackboneChoice, Config, setting_label
from metabench.config.search import adapts
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import (
    InputError,
    atomic,
    digest,
    read_json,
    read_record,
    write_json,
)
from metabench.learning.calibration import temperature_for
from metabench.learning.scoring import EpisodeSet, can_answer, episode_cost, evaluate
from metabench.learning.selection import selected
from metabench.learning.training import Report
from metabench.methods.base import Method, Settings
from metabench.pipeline.cells import Cost, examples_of, peak_memory_mb, trusted_of
from metabench.pipeline.fingerprint import git_commit
from metabench.pipeline.keys import Keys, champion_files, count_test_classes, evaluation_files
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from metabench.pipeline.overlap import seen_in
from metabench.pipeline.pretrainings import pretraining_of
from metabench.pipeline.results import VAL, arranged
from metabench.runtime import machine, pick_device

FAULTS = MISSING, DAMAGED, OTHER = (
    "have no result",
    "are damaged",
    "are of other params or other code",
)
"""What may be wrong with results, to follow their number."""


def evaluate_cell(
    report: Report, config: Config, layout: Layout, source: str, method: str, seed: int
) -> None:
    """Score the learner of (source, method, seed) on every target and setting of its task type."""
    task_type, device = config.task_type_of(source), pick_device(config.compute.device)
    path, keys = layout.result(source, method, seed), Keys(config, layout)
    key = keys.result(source, method, seed)
    if fault_of(path, key) is None:
        return
    folder = layout.learner(source, method, seed)
    choice = task_type.backbone_of(method)
    learner, cell = load_learner(folder, trusted_of(task_type, method))
    if cell["key"] != keys.learner(source, method, seed):
        raise InputError(
            f"{folder}: a learner of other params or of code as it was before an edit. Run "
            "`dvc repro` again: it is trained anew."
        )
    learner.to(device)
    shape = tuple(cell["input_shape"])

    def opened(path: Path) -> EpisodeSet:
        frozen = FrozenEpisodes.load(path)
        regression = frozen.indices is None
        dataset = None if regression else examples_of(config, layout, frozen.dataset, choice)
        return EpisodeSet.of(frozen, dataset, shape, device)

    files = evaluation_files(task_type, layout, source, method)
    sets = [opened(path) for path in files]
    val = [opened(path) for path in champion_files(task_type, layout, source, method)]
    cost = read_record(folder / "cost.json", Cost).model_dump() | episode_cost(learner, sets[0])
    asked = task_type.evaluation
    on_val = evaluate(learner, val, report=report)
    temperatures = _temperatures(on_val)
    on_test = evaluate(learner, sets, asked.steps, report, asked.metrics, temperatures)
    others = [
        selected(learner, s, asked.selection, asked.candidates, asked.metrics)
        for s in sets
        if asked.selection and can_answer(learner, s.frozen.ways)
    ]
    # none of val is no row, and no column: it must not make floats of the others' integers
    scored = [
        on_val.assign(partition="val", selection=VAL),
        on_test.assign(partition="test", selection=VAL),
        *(part.assign(partition="test") for part in others),
    ]
    frame = pd.concat([part for part in scored if len(part)], ignore_index=True)
    cost["open_set_auroc"] = _open_set(config, layout, source, choice, learner, sets, temperatures)
    cost["peak_memory_mb"] = max(peak_memory_mb(), cost.pop("train_peak_memory_mb"))
    declared = type(learner)  # what `metabench check` examines; an instance could say otherwise
    facts: dict[str, Any] = {
        "source": source,
        "method": method,
        "family": declared.family,
        "examples_budget": layout.level.examples if layout.level else 0,
        "source_classes": layout.level.classes if layout.level else 0.0,
        "seed": seed,
    }
    anew = layout.split_anew
    targets = {"split": [layout.split if {source, t} & anew else 0 for t in frame["target"]]}
    with atomic(path) as temporary:
        arranged(frame.assign(**facts, **targets)).to_parquet(temporary, index=False)
    write_json(
        path.with_suffix(".json"),
        facts
        | cost
        | {
            "paper": declared.paper,
            "transductive": declared.transductive,
            "start": declared.start,
            "pretraining": str(pretraining_of(config, source, method) or ""),
            "source_training": declared.source_training,
            "adapts": declared.adapts,
            "external_pretraining": learner.backbone.external_pretraining,
            "seen": seen_in(config, layout, choice, files),
            "backbone": choice.label,
            "settings": cell["settings"],
            "adaptation_steps": {
                setting_label(s.frozen.ways, s.frozen.shots): steps
                for s in sets
                if (steps := _adaptation_steps(learner.settings.at(s.frozen.shots))) is not None
            },
            "val": cell["val"],
            "temperatures": {setting_label(*form): t for form, t in temperatures.items()},
            "episode_hashes": {
                f"{s.frozen.dataset}/{s.frozen.ways}w{s.frozen.shots}s": s.frozen.hash for s in sets
            },
            "key": key,
            "results": digest(path),
            "git_commit": git_commit(),
            "machine": machine(device),
            "trained_on": cell["machine"],
            "pretrained_on": cell.get("pretrained_on"),
        },
    )


def _adaptation_steps(settings: Settings) -> int | None:
    """Steps in prediction, where the method takes any: ``test_steps``, or its only ``steps``."""
    for name in ("test_steps", "steps"):
        field = type(settings).model_fields.get(name)
        if field is not None and adapts(field):
            return int(getattr(settings, name))
    return None


def _temperatures(val: pd.DataFrame) -> dict[tuple[int, int], float]:
    """By ``(ways, shots)``, as they were fitted on these scores' episodes; none in regression."""
    if "temperature" not in val:
        return {}
    rows = val.dropna(subset="temperature").drop_duplicates(["ways", "shots"])
    return dict(
        zip(zip(rows["ways"], rows["shots"], strict=True), rows["temperature"], strict=True)
    )


def _open_set(
    config: Config,
    layout: Layout,
    source: str,
    choice: BackboneChoice,
    learner: Method,
    sets: Sequence[EpisodeSet],
    temperatures: Mapping[tuple[int, int], float],
) -> dict[str, float]:
    """Open-set AUROC by ``target/setting``, where all classes of a target are asked for.

    With fewer classes in an episode, much of the target itself would be of none of them.
    """
    found: dict[str, float] = {}
    others = config.task_type_of(source).out_of_scope
    for s in sets:
        target, ways = s.frozen.dataset, s.frozen.ways
        if (
            target in others
            and ways > count_test_classes(layout, target)
            and can_answer(learner, ways)
        ):
            from metabench.learning.open_set import auroc  # imports scikit-learn: 1.7 s

            out_of_scope = examples_of(config, layout, others[target], choice).x
            label = f"{target}/{ways}w{s.frozen.shots}s"
            temperature = temperature_for(temperatures, ways, s.frozen.shots)
            found[label] = auroc(learner, s, torch.from_numpy(np.array(out_of_scope)), temperature)
    return found


def fault_of(path: Path, key: str, digest_of: Callable[[Path], str] = digest) -> str | None:
    """Why the result at ``path`` is not that of ``key`` (one of ``FAULTS``); None: it is."""
    if not (path.exists() and path.with_suffix(".json").exists()):
        return MISSING
    try:
        record = read_json(path.with_suffix(".json"))
        if record["key"] != key:
            return OTHER
        return None if record["results"] == digest_of(path) else DAMAGED
    except (InputError, KeyError, TypeError, OSError):
        return DAMAGED
