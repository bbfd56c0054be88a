"""Few-shot methods on a user's own data: plan, run, recommend, export the winner.

The same cells, episodes, statistics and reports as a profile's, in a work folder of its own. Two
questions can be asked of user data:

- *class-disjoint*: "I shall meet new classes of this kind". Methods learn from some of the classes
  and are tested on others.
- *all-way*: "these are my classes". Methods come trained on another source, and each episode has
  all classes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from metabench import rng
from metabench.config import Config, TaskType, validated
from metabench.data import DATASETS
from metabench.data.base import Dataset, Partition
from metabench.data.download import prepare
from metabench.data.images import coloured
from metabench.data.own import UserData, bright_background
from metabench.files import InputError, lock, read_json, write_json, write_text
from metabench.pipeline.cells import freeze_dataset
from metabench.pipeline.embeddings import embed_dataset, encoders_of
from metabench.pipeline.executor import run_cells
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import Part
from metabench.pipeline.pretrainings import levels_of
from metabench.pipeline.validation import validate_names
from metabench.practice.parts import episodes, use_of
from metabench.practice.recommending import recommend
from metabench.reports.writing import report
from metabench.shown import markdown

Mode = Literal["class-disjoint", "all-way"]
ENOUGH = 20
"""Classes from which on the data can be its own source: 10 to train, 5 to validate, 5 to test."""
SHOTS = (1, 5)
IMAGES = ("protonet", "linear_probe", "simpleshot", "fine_tune", "scratch", "nearest_neighbour")
TEXTS = ("frozen_linear_probe", "frozen_ridge", "tfidf", "tfidf_neighbour")
"""``frozen_``: on the vectors of a language model that stays as it is. Tuned ones are left out for
their cost: seconds to minutes an episode."""
LEARNING = ("frozen_r2d2", "frozen_simpleshot", "frozen_knn")
"""These need classes to learn from."""


@dataclass(frozen=True)
class Plan:
    """What will be run, and why.

    Attributes:
        invert: images are inverted, since the source has bright content on dark.
        shape: ``(C, H, W)`` of an image; None takes the source's.
        coloured: images that a grey source would be blind to the colours of.
        deterministic: nothing is trained, so every seed would say the same.
    """

    mode: Mode
    why: str
    config: Config
    invert: bool = False
    shape: tuple[int, ...] | None = None
    coloured: int = 0
    deterministic: bool = False

    @property
    def task_type(self) -> TaskType:
        """The one task type that is run."""
        (only,) = self.config.task_types.values()
        return only


def plan(user_data: UserData, mode: Mode | None, source: str, seeds: int) -> Plan:
    """Choose mode, settings and budget for the data at hand.

    Args:
        mode: None lets the number of classes decide.
        source: what image learners are trained on in the all-way mode.

    Raises:
        InputError: the mode asks for more classes than there are.
    """
    count, smallest = len(user_data.classes), user_data.smallest
    parts = use_of(user_data.labels, user_data.parts)
    learn = parts.classes or (count >= ENOUGH and not parts.query)
    chosen: Mode = mode or ("class-disjoint" if learn else "all-way")
    disjoint = chosen == "class-disjoint"
    if disjoint and count < ENOUGH and not parts.classes:
        raise InputError(f"--mode class-disjoint needs {ENOUGH} classes, there are {count}")
    if not disjoint and user_data.kind == "image":
        DATASETS.load(source)
        if source == user_data.name:
            raise InputError(
                f"--source {source}: learners cannot come trained on your own data; name a dataset"
            )
    shots = [s for s in SHOTS if s + 3 <= smallest]
    ways = 5 if disjoint else count
    wanted = min(15, max(3, 150 // ways))
    queries = min(wanted, smallest - max(shots))
    kept = bool(parts.query) and not disjoint
    if kept:
        shots = [s for s in SHOTS if s <= parts.shots]
        queries = min(wanted, parts.queries)
    if disjoint:
        why = f"{count} classes are enough to learn from some and test on others"
    else:
        fewer = f"fewer than the {ENOUGH} that class-disjoint learning needs"
        reason = fewer if count < ENOUGH else "as asked" if mode else "in every part"
        trained = f"learners trained on {source}" if user_data.kind == "image" else "learners"
        why = f"{count} classes, {reason}: {trained} meet all of them at once"
    if (enough := max(SHOTS) + wanted) > smallest and not kept:
        rare = [name for name, examples in user_data.counts.items() if examples < enough]
        few = min(rare, key=user_data.counts.__getitem__)
        others = f", {len(rare) - 1} more have under {enough}" if len(rare) > 1 else ""
        why += (
            f". Class '{few}' has {smallest} {user_data.kind}s only{others}: shots are "
            f"{' and '.join(map(str, shots))}, with {queries} queries of each class. With {enough} "
            f"in every class they are {' and '.join(map(str, SHOTS))}, with {wanted}"
        )
    if (parts.classes and not disjoint) or (parts.query and disjoint):
        why += ". The parts of the folder are not used, since --mode asks for another question"
    elif parts.why:
        why += f". {parts.why}"
    shared: dict[str, Any] = {
        "budget": {"examples": 20_000, "validations": 4, "val_episodes": 20},
        "training": {"ways": 5, "shots": shots, "queries": min(10, queries)},
        "evaluation": {
            "episodes": 60,
            "queries": queries,
            "settings": [{"ways": ways, "shots": s, "datasets": [user_data.name]} for s in shots],
        },
    }
    settings: dict[str, dict[str, Any]]
    if user_data.kind == "image":
        trained_on, task_type = user_data.name if disjoint else source, "classification"
        settings = {name: {} for name in IMAGES}
        settings["protonet"] = {"queries": min(5, queries)}
        settings["fine_tune"] = settings["scratch"] = {"steps": 8}
        shared["backbone"] = {"name": "conv4", "settings": {"width": 32}}
    else:
        trained_on, task_type = user_data.name, "text"
        settings = {name: {} for name in (*LEARNING, *TEXTS) if disjoint or name in TEXTS}
        if disjoint:
            settings["frozen_r2d2"] = {"ways": 5, "queries": min(5, queries)}
        else:  # nothing is trained: no validation, and every seed would say the same
            shared["training"] |= {"shots": []}
            seeds = 1
        shared["variants"] = {
            name: {"method": name.removeprefix("frozen_"), "backbone": {"name": "minilm_frozen"}}
            for name in settings
            if name.startswith("frozen_")
        }
        shared["backbone"] = {"name": "text_cnn"}
    config = validated(
        {
            "profile": "bench",
            "reports": "reports",
            "seeds": list(range(seeds)),
            task_type: {
                "sources": [trained_on],
                "targets": [user_data.name],
                "methods": list(settings),
                **shared,
            },
            "settings": {trained_on: settings},
        },
        "bench",
    )
    validate_names(config, where="bench")
    if user_data.kind == "text":
        return Plan(chosen, why, config, deterministic=not disjoint)
    if disjoint:
        colour = any(image.shape[0] == 3 for image in user_data.examples)
        return Plan(chosen, why, config, shape=(3, 32, 32) if colour else (1, 28, 28))
    invert = bright_background(user_data.examples)
    return Plan(chosen, why, config, invert, coloured=sum(map(coloured, user_data.examples)))


def arrays(user_data: UserData, shape: tuple[int, ...], mode: Mode, invert: bool) -> Dataset:
    """The data as a dataset; in the all-way mode every class is ``test``.

    Args:
        shape: ``(C, H, W)`` of an image; unused for texts.
    """
    names = user_data.classes
    parts: list[Partition] = ["test"] * len(names)
    said = use_of(user_data.labels, user_data.parts).classes
    if mode == "class-disjoint" and said:
        parts = [said[name] for name in names]
    elif mode == "class-disjoint":
        held = max(5, len(names) // 4)
        for i, row in enumerate(rng.generator(user_data.name, "partition").permutation(len(names))):
            parts[row] = "test" if i < held else "val" if i < 2 * held else "train"
    found = user_data.as_dataset(user_data.name, shape, dict(zip(names, parts, strict=True)))
    if invert:
        np.subtract(255, found.x, out=found.x)
    return found


def run_plan(user_data: UserData, chosen: Plan, root: Path) -> str:
    """Run everything in ``root``; finished cells are reused. Returns the recommendation's text.

    Writes ``params.yaml``, ``reports/`` and ``winner/``, which
    :meth:`metabench.FewShotClassifier.from_run` opens.

    Raises:
        InputError: a cell failed (the others are kept), or ``root`` holds results of other data.
    """
    config, layout, task_type = chosen.config, Layout(root), chosen.task_type
    source, remarks = task_type.sources[0], list[str]()
    with lock(root):
        claim(user_data, root)
        values = yaml.safe_dump(config.values(), sort_keys=False)
        write_text(root / "params.yaml", values)
        if source != user_data.name:
            prepare(DATASETS.load(source), layout.root / "data/raw", layout.processed(source))
            if chosen.coloured and _in_colour(layout.processed(source)):
                remarks.append(
                    f"{chosen.coloured} of {len(user_data.examples)} images are coloured, "
                    f"{source} is grey: its learners see the colours, but have learned from "
                    "shapes alone. To learn from colours, name a coloured source (--source "
                    f"cifar_fs, or mini_imagenet) or collect {ENOUGH} classes."
                )
        shape = chosen.shape or (
            () if source == user_data.name else Dataset.load(layout.processed(source)).x.shape[1:]
        )
        data = arrays(user_data, shape, chosen.mode, chosen.invert)
        parts, asked = use_of(user_data.labels, user_data.parts), task_type.evaluation
        if parts.query and chosen.mode == "all-way":
            fixed = {
                f"test-{s.label}": episodes(
                    user_data.name, data.y, parts, s.ways, s.shots, asked.queries, asked.episodes
                )
                for s in asked.settings
            }
            data = replace(data, fixed=fixed)
        data.save(layout.processed(user_data.name))
        for name in config.used:
            freeze_dataset(config, layout, name)
            for frozen in encoders_of(task_type).values():
                embed_dataset(layout.processed(name), layout.embeddings(name), frozen)
        part = Part(frozenset(task_type.methods))  # pretrains where some learner starts from that
        for step, cells in (
            ("pretrain", part.backbones),
            ("train", part.learners),
            ("evaluate", part.learners),
        ):
            run_cells(jobs_of(step, cells(config), config, layout), config.compute)
        unmoved = task_type.methods if chosen.deterministic else ()
        winner, text = recommend(*report(config, layout, unmoved), unmoved)
        shutil.rmtree(root / "winner", ignore_errors=True)
        if winner:
            read = {"invert": chosen.invert, "white": user_data.white}
            read |= {"pieces": user_data.pieces} if user_data.kind == "text" else {}
            (level,) = levels_of(config, source, winner)
            learner = layout.at(level).learner(source, winner, config.seeds[0])
            export(learner, root / "winner", read)
        text = "\n\n".join([*(markdown(remark, 1000) for remark in remarks), text])
        text = _report(user_data, chosen, text, root)
        write_text(root / "reports" / "recommendation.md", text)
    return text


def claim(user_data: UserData, root: Path) -> None:
    """Note in ``root`` whose results it holds: data of one path, or of one content.

    Raises:
        InputError: those of other data, or of nobody knows which.
    """
    record = root / "data.json"
    identity = {
        "path": str(user_data.origin or ""),
        "content": user_data.content,
        "what": user_data.summary,
    }
    found = read_json(record) if record.exists() else None
    if isinstance(found, dict) and found.keys() == identity.keys():
        moved = not user_data.origin or identity["path"] != found["path"]
        if moved and identity["content"] != found["content"]:
            raise InputError(
                f"{root}: holds the results of other data, {found['what']} from {found['path']}. "
                "Give these a folder of their own: --name NAME."
            )
    elif (root / "reports").exists():
        raise InputError(
            f"{root}: holds results, and no data.json that says of which data. Give these a folder "
            "of their own with --name NAME, or remove this one."
        )
    write_json(record, identity)


def _in_colour(folder: Path) -> bool:
    """Repeat a grey dataset in three channels, so that its learners see colours; whether it was."""
    dataset = Dataset.load(folder)
    if dataset.x.shape[1] != 1:
        return False
    replace(dataset, x=np.repeat(dataset.x, 3, axis=1)).save(folder)
    return True


def export(learner: Path, folder: Path, read: Mapping[str, Any]) -> None:
    """Copy the learner to ``folder``, with how it is to read examples."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(learner / "model.safetensors", folder / "model.safetensors")
    write_json(folder / "cell.json", read_json(learner / "cell.json") | dict(read))


def _report(user_data: UserData, chosen: Plan, recommendation: str, root: Path) -> str:
    data = f"Data: {markdown(user_data.summary, 1000)}, {user_data.left_out} left out."
    lines = ["# Recommendation", "", data, ""]
    lines += (
        [*(f"- {markdown(note, 1000)}" for note in user_data.notes), ""] if user_data.notes else []
    )
    lines += [f"Evaluation: **{chosen.mode}**: {markdown(chosen.why, 1000)}.", ""]
    if chosen.invert:
        lines += ["Most images are dark on bright: inverted, as the source is bright on dark.", ""]
    lines += [recommendation, "", f"Leaderboard: {markdown(root / 'reports/leaderboard.md')}", ""]
    if (root / "winner").exists():
        winner = json.dumps(str(root / "winner"), ensure_ascii=False)
        lines += ["```python", "import metabench", ""]
        lines += [f"model = metabench.FewShotClassifier.from_run({winner})"]
        lines += [f"model.fit({user_data.kind}s, labels).predict(new_{user_data.kind}s)", "```"]
    if user_data.skipped:
        lines += ["", "Left out:", ""]
        lines += [
            f"- {markdown(path)}: {markdown(reason, 1000)}" for path, reason in user_data.skipped
        ]
    return "\n".join(lines) + "\n"
