"""Classes that a backbone was pretrained on: left out of test episodes, or a flag of the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.backbones.conv4 import Conv4
from metabench.backbones.timm_model import Timm
from metabench.config import BackboneChoice, Config
from metabench.data.base import Dataset
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import read_json
from metabench.pipeline.cells import train_cell
from metabench.pipeline.data_cells import freeze_cell, prepare_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.overlap import seen
from tests.data.test_own_images import fill
from tests.toy import TOY, TOY_NAME, params, prepared

HERE = "tests.pipeline.test_overlap"
CLASSES = [f"bird{i}" for i in range(8)]


class Pretrained(Conv4):
    """Knows ImageNet-1k, as it says."""

    external_pretraining = True
    pretrained_on = "imagenet"


class Elsewhere(Conv4):
    """Knows something, and nobody says what."""

    external_pretraining = True


def project(root: Path, known: list[str] | None, backbone: str = "Pretrained") -> Config:
    """Eight classes of one's own as a target, of which ImageNet-1k has ``known``."""
    if not (root / "birds").exists():
        for name in CLASSES:
            fill(root / "birds" / name)
    rows = [f"{name},{'n02058221' if name in (known or ()) else ''}" for name in CLASSES]
    (root / "known.csv").write_text("\n".join(["class,imagenet", *rows]))
    birds: dict[str, Any] = {"images": "birds", "size": 16, "partition": "all-test"}
    birds |= {} if known is None else {"imagenet": "known.csv"}
    values = params(datasets={"birds": birds})
    choice = {"name": f"{HERE}:{backbone}", "settings": {"width": 4}} if backbone else None
    values["classification"] |= {
        "targets": ["birds"],
        "methods": ["protonet", "other"],
        "variants": {"other": {"method": "protonet", "backbone": choice}},
    }
    return Config.model_validate(values)


def silent(share: float, text: str) -> None:
    pass


def classes_in(root: Path, config: Config) -> set[str]:
    """The classes of the frozen test episodes."""
    layout = Layout(root)
    prepare_cell(silent, config, layout, "birds")
    freeze_cell(silent, config, layout, "birds")
    frozen = FrozenEpisodes.load(layout.episodes("birds", "test") / "5w1s.npz")
    dataset = Dataset.load(layout.processed("birds"))
    return {dataset.classes[i].name for i in np.unique(dataset.y[frozen.indices])}


def test_classes_that_a_backbone_knows_are_left_out_as_far_as_others_suffice(tmp_path) -> None:
    known = CLASSES[:2]
    without = Config.model_validate(project(tmp_path, known, backbone="").values())
    assert classes_in(tmp_path, without) == set(CLASSES)
    assert classes_in(tmp_path, project(tmp_path, known)) == set(CLASSES) - set(known)
    assert classes_in(tmp_path, project(tmp_path, CLASSES[:4])) == set(CLASSES)
    assert classes_in(tmp_path, project(tmp_path, None)) == set(CLASSES)


def test_what_is_known_of_classes_is_in_keys_where_a_backbone_makes_it_matter(tmp_path) -> None:
    def key(known: list[str] | None, backbone: str) -> str:
        config = project(tmp_path, known, backbone)
        prepare_cell(silent, config, Layout(tmp_path), "birds")
        return Keys(config, Layout(tmp_path)).episodes("birds")

    assert key(CLASSES[:1], "Pretrained") != key(CLASSES[:2], "Pretrained")
    assert key(CLASSES[:1], "") == key(CLASSES[:2], "") == key(None, "")


@pytest.mark.parametrize(
    ("known", "flagged"), [(2, set()), (4, {"birds/5w1s"}), (None, {"birds/5w1s"})]
)
def test_results_say_in_which_episodes_a_backbone_may_know_classes(
    tmp_path, known, flagged
) -> None:
    config = project(tmp_path, None if known is None else CLASSES[:known])
    layout = prepared(tmp_path, config)
    classes_in(tmp_path, config)
    found = {}
    for method in ("protonet", "other"):
        train_cell(silent, config, layout, TOY_NAME, method, 0)
        evaluate_cell(silent, config, layout, TOY_NAME, method, 0)
        record = read_json(layout.result(TOY_NAME, method, 0).with_suffix(".json"))
        found[method] = set(record["seen"])
    # of the toy's own classes nobody has said what they are
    assert found == {"protonet": set(), "other": {f"{TOY_NAME}/5w1s"} | flagged}


def test_only_external_weights_on_images_have_seen_anything() -> None:
    pretrained = BackboneChoice(name=f"{HERE}:Pretrained")
    elsewhere, plain = BackboneChoice(name=f"{HERE}:Elsewhere"), BackboneChoice(name="conv4")
    some = replace(TOY, imagenet="cub")
    names = {"100.Brown_Pelican", "129.Song_Sparrow"}
    assert seen(some, pretrained, names) == {"100.Brown_Pelican"}
    assert seen(some, elsewhere, names) is seen(TOY, pretrained, names) is None
    assert seen(some, plain, names) == seen(TOY, plain, names) == frozenset()
    assert seen(replace(TOY, kind="text"), BackboneChoice(name="minilm"), names) == frozenset()


def test_a_timm_model_has_seen_nothing_before_it_has_weights() -> None:
    assert Timm.learned_from({}) is None
    assert Timm.learned_from({"pretrained": True}) == "unknown"
    assert Timm.learned_from({"checkpoint": "mine.pt"}) == "unknown"
