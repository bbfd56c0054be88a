"""A tiny image dataset and a config for tests that need a source but no pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metabench.config import Config
from metabench.data.base import Builder, ClassInfo, Dataset
from metabench.pipeline.cells import freeze_dataset
from metabench.pipeline.layout import Layout

TOY_NAME = "tests.toy:TOY"
"""The toy dataset as a third party would name it, by a dotted path."""

PARTITIONS = ["train"] * 6 + ["val"] * 5 + ["test"] * 5


def toy_dataset(per_class: int = 12) -> Dataset:
    """16 classes: a random 16×16 template each, with noise; partitions class-disjoint."""
    draw = np.random.default_rng(0)
    templates = draw.integers(0, 256, (16, 1, 1, 16, 16))
    noise = draw.normal(0, 20, (16, per_class, 1, 16, 16))
    x = np.clip(templates + noise, 0, 255).astype(np.uint8).reshape(-1, 1, 16, 16)
    classes = tuple(
        ClassInfo(f"class{i}", p, p)  # type: ignore[arg-type]
        for i, p in enumerate(PARTITIONS)
    )
    return Dataset("toy", "image", x, np.repeat(np.arange(16), per_class), classes)


def params(**changes: Any) -> dict[str, Any]:
    """A valid ``params.yaml`` as a dictionary, with top-level keys replaced."""
    evaluation = {"episodes": 4, "queries": 3, "settings": [{"ways": 5, "shots": 1}]}
    task_type = {
        "sources": [TOY_NAME],
        "methods": ["protonet"],
        "backbone": {"name": "conv4", "settings": {"width": 4}},
        "budget": {"examples": 400, "validations": 4, "val_episodes": 4},
        "training": {"ways": 5, "shots": [1, 2], "queries": 3},
        "evaluation": evaluation,
    }
    base = {
        "profile": "toy",
        "reports": "reports",
        "seeds": [0],
        "compute": {"workers": 1, "device": "cpu"},
        "classification": task_type,
        "settings": {TOY_NAME: {"protonet": {"ways": 5, "queries": 3, "lr": 1e-3}}},
    }
    return base | changes


def toy_config(**changes: Any) -> Config:
    """The validated form of :func:`params`."""
    return Config.model_validate(params(**changes))


def prepared(root: Path, config: Config) -> Layout:
    """A project folder with the toy dataset's arrays and frozen episodes, at its main level."""
    layout = Layout(root, level=config.task_type_of(TOY_NAME).budget.level)
    toy_dataset().save(layout.processed(TOY_NAME))
    freeze_dataset(config, layout, TOY_NAME)
    return layout


TOY = Builder("toy", "image", "made up", build=lambda raw: toy_dataset())


def root_of_repository() -> Path:
    """The checkout that holds these tests."""
    return Path(__file__).parent.parent
