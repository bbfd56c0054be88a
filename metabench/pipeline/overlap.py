"""What external weights have seen: classes of a dataset that a backbone was pretrained on.

Numbers on such classes are no few-shot numbers, so test episodes are of the other classes as far as
these suffice, for all methods of a task type alike; what is left of the problem is recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from metabench.backbones import BACKBONES
from metabench.config import BackboneChoice, Config, setting_label
from metabench.data import Builder, Dataset
from metabench.data.builders import builder_of
from metabench.data.imagenet import IMAGENET, listed, shared
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.pipeline.layout import Layout


def seen(
    builder: Builder, choice: BackboneChoice, classes: Collection[str]
) -> frozenset[str] | None:
    """Those of ``classes`` that a backbone has learned before; None: nobody knows.

    Only images are asked for: language models are not pretrained on classes.
    """
    learned = _learned(choice)
    if learned is None or builder.kind != "image":
        return frozenset()
    return shared(builder.imagenet, classes) if learned == IMAGENET else None


def left_out(config: Config, name: str, root: Path, classes: Iterable[str]) -> frozenset[str]:
    """Those of ``classes`` that some backbone of the dataset's task type is known to have seen."""
    builder, names = builder_of(config, name, root), frozenset(classes)
    found = (seen(builder, choice, names) for choice in _backbones(config, name))
    return frozenset[str]().union(*filter(None, found))


def seen_in(
    config: Config, layout: Layout, choice: BackboneChoice, files: Iterable[Path]
) -> list[str]:
    """In which of these frozen episodes a backbone has, or may have, seen a class: target/setting.

    It is looked up in the episodes themselves, however they came to be.
    """
    if _learned(choice) is None:
        return []
    found = []
    for frozen in map(FrozenEpisodes.load, files):
        if frozen.indices is None:
            continue
        dataset = Dataset.load(layout.processed(frozen.dataset))
        names = {dataset.classes[i].name for i in np.unique(dataset.y[frozen.indices])}
        known = seen(builder_of(config, frozen.dataset, layout.root), choice, names)
        if known is None or known:
            found.append(f"{frozen.dataset}/{setting_label(frozen.ways, frozen.shots)}")
    return found


def overlap_fingerprint(config: Config, name: str, root: Path = Path()) -> dict[str, Any]:
    """What is known of the dataset's classes, where a backbone makes it matter."""
    builder = builder_of(config, name, root)
    learned = {_learned(choice) for choice in _backbones(config, name)}
    if learned == {None} or builder.kind != "image":
        return {}
    which = builder.imagenet
    known = which if which in (None, "none", "all") else sorted(listed(which))
    return {"imagenet": known}


def _learned(choice: BackboneChoice) -> str | None:
    return BACKBONES.load(choice.name).learned_from(choice.settings)


def _backbones(config: Config, name: str) -> list[BackboneChoice]:
    task_type = config.task_type_of(name)
    return [task_type.backbone_of(method) for method in task_type.methods]
