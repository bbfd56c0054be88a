"""Variants of a method, frozen encoders, and who may answer which setting."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.config import BackboneChoice, Config
from metabench.data.base import Builder, ClassInfo, Dataset
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import InputError, write_json
from metabench.methods import METHODS
from metabench.pipeline.cells import examples_of
from metabench.pipeline.keys import Keys, evaluation_files
from metabench.pipeline.layout import Layout
from metabench.pipeline.validation import starts_shared, validate_names
from tests.toy import TOY_NAME, params, prepared, toy_config

OTHER_NAME = "tests.pipeline.test_variants:OTHER"
OTHER = Builder("other", "image", "made up", build=lambda raw: other())


def other() -> Dataset:
    """Another target."""
    classes = tuple(ClassInfo(str(i), "g", "test") for i in range(5))
    x = np.zeros((40, 1, 16, 16), np.uint8)
    return Dataset("other", "image", x, np.repeat(np.arange(5), 8), classes)


def with_track(**changes: Any) -> dict[str, Any]:
    task_type = copy.deepcopy(params()["classification"]) | changes
    return params(classification=task_type, settings={})


def frozen(layout: Layout, name: str, ways: int) -> None:
    path = layout.episodes(name, "test") / f"{ways}w1s.npz"
    indices, order = np.zeros((2, ways, 2), np.int32), np.zeros((2, ways), np.int32)
    FrozenEpisodes(name, ways, 1, f"{name}{ways}", indices, order).save(path)


def test_who_was_trained_on_classes_of_a_setting_does_not_answer_it(tmp_path) -> None:
    settings = [{"ways": 5, "shots": 1}, {"ways": 16, "shots": 1}]
    evaluation = {"episodes": 2, "settings": settings}
    skip = {"method": "protonet", "skip": [f"{TOY_NAME}/5w1s", "16w1s"]}
    values = with_track(
        targets=[OTHER_NAME], methods=["knn", "bounded"], variants={"bounded": skip},
        evaluation=evaluation,
    )  # fmt: skip
    config, layout = Config.model_validate(values), prepared(tmp_path, toy_config())
    other().save(layout.processed(OTHER_NAME))
    for name in (TOY_NAME, OTHER_NAME):
        for ways in (5, 16):
            frozen(layout, name, ways)

    def answered(source: str, name: str) -> set[str]:
        task_type = config.classification
        files = evaluation_files(task_type, layout, source, name)
        return {FrozenEpisodes.load(path).content for path in files}

    # the toy dataset has 16 classes, of which 5 are test; 16 ways are all of them
    assert answered(TOY_NAME, "knn") == {f"{TOY_NAME}5", f"{OTHER_NAME}5", f"{OTHER_NAME}16"}
    assert answered("another source", "knn") == answered(TOY_NAME, "knn") | {f"{TOY_NAME}16"}
    assert answered("another source", "bounded") == {f"{OTHER_NAME}5"}


def test_a_variant_has_its_backbone_its_settings_and_a_key_of_its_own(tmp_path) -> None:
    wide = {"method": "protonet", "backbone": {"name": "conv4", "settings": {"width": 8}}}
    values = with_track(methods=["protonet", "wide"], variants={"wide": wide})
    config, layout = Config.model_validate(values), prepared(tmp_path, toy_config())
    validate_names(config)
    assert config.classification.backbone_of("wide").label == "conv4-8"
    assert config.classification.backbone_of("protonet").label == "conv4-4"
    keys = {Keys(config, layout).learner(TOY_NAME, name, 0) for name in ("protonet", "wide")}
    assert len(keys) == 2
    alone = Config.model_validate(with_track())
    assert Keys(alone, layout).learner(TOY_NAME, "protonet", 0) in keys


def test_a_variant_runs_for_its_sources_alone() -> None:
    variants = {
        "here": {"method": "knn", "sources": [TOY_NAME]},
        "away": {"method": "knn", "sources": ["x"]},
    }
    config = Config.model_validate(with_track(methods=["here", "away"], variants=variants))
    assert config.seeds_of(TOY_NAME, "here") == (0,)
    assert config.seeds_of(TOY_NAME, "away") == ()


def test_a_variant_cannot_start_from_another_backbone_s_pretraining() -> None:
    wide = {"method": "knn", "backbone": {"name": "conv4", "settings": {"width": 8}}}
    values = with_track(methods=["wide"], variants={"wide": wide})
    with pytest.raises(InputError, match=r"variants\.wide: .* which is conv4-4, not conv4-8"):
        validate_names(Config.model_validate(values))
    external = BackboneChoice(name="minilm_frozen")
    assert not starts_shared(METHODS.load("knn"), external), "pretrained elsewhere"


def test_an_unused_variant_is_an_error() -> None:
    config = Config.model_validate(with_track(variants={"spare": {"method": "knn"}}))
    with pytest.raises(InputError, match=r"classification\.variants\.spare: .* is not in methods"):
        validate_names(config)


def test_a_frozen_backbone_reads_vectors_in_place_of_the_inputs(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    other().save(layout.processed(OTHER_NAME))
    plain = examples_of(toy_config(), layout, OTHER_NAME, BackboneChoice(name="conv4"))
    assert plain.x.shape == (40, 1, 16, 16)
    choice = BackboneChoice(name="minilm_frozen")
    with pytest.raises(InputError, match=r"minilm_frozen\.npy: damaged or missing"):
        examples_of(toy_config(), layout, OTHER_NAME, choice)
    layout.embeddings(OTHER_NAME).mkdir(parents=True)
    np.save(layout.embeddings(OTHER_NAME) / "minilm_frozen.npy", np.ones((40, 3), np.float32))
    write_json(layout.embeddings(OTHER_NAME) / "minilm_frozen.json", {})
    assert examples_of(toy_config(), layout, OTHER_NAME, choice).x.shape == (40, 3)
