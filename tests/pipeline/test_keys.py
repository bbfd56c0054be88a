"""Keys: what an outcome depends on is in them, the code that trains and scores included."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from metabench.config import Config
from metabench.data.base import CHARACTERS
from metabench.methods.metric.protonet import ProtoNetSettings
from metabench.pipeline import cell_fingerprints
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import Pretraining
from tests import toy
from tests.toy import TOY_NAME, params, prepared, toy_config

TRAINS = (
    "metabench.pipeline.cells",
    "metabench.learning.training",
    "metabench.learning.scoring",
    "metabench.episodes.sampling",
    "metabench.methods.base",
    "torch",
)
SCORES = ("metabench.pipeline.evaluating", "metabench.learning.metrics.regression")


@pytest.fixture
def edit(monkeypatch):
    """``edit(module)``: from now on the module's code counts as another."""
    real = cell_fingerprints.code_fingerprint

    def edit(module: str) -> None:
        def changed(*names: str) -> dict[str, str]:
            return {n: "edited" if n == module else d for n, d in real(*names).items()}

        monkeypatch.setattr(cell_fingerprints, "code_fingerprint", changed)

    return edit


def keys_of(config: Config, layout: Layout) -> tuple[str, str, str]:
    """Of protonet's pretraining, learner and result as they are at this moment."""
    keys, cell = Keys(config, layout), (TOY_NAME, "protonet", 0)
    return keys.backbone(TOY_NAME, Pretraining(), 0), keys.learner(*cell), keys.result(*cell)


@pytest.mark.case("01")
def test_an_edit_of_what_trains_or_scores_changes_the_keys_that_it_matters_to(
    tmp_path, edit
) -> None:
    config = toy_config()
    layout = prepared(tmp_path, config)
    found = partial(keys_of, config, layout)
    before = found()
    assert found() == before
    for module in TRAINS:
        edit(module)
        assert not set(found()) & set(before), f"{module} is not in every key"
    for module in SCORES:
        edit(module)
        assert found()[2] != before[2], f"{module} is not in the key of a result"
    edit("metabench.methods.optimisation.maml")
    assert found() == before


def test_what_a_dataset_declares_to_leave_labels_alone_is_in_the_keys_of_its_cells(
    tmp_path, monkeypatch
) -> None:
    config = toy_config()
    layout = prepared(tmp_path, config)
    found = partial(keys_of, config, layout)
    plain = found()
    monkeypatch.setattr(toy, "TOY", replace(toy.TOY, augmentation=CHARACTERS))
    assert not set(found()) & set(plain)


def test_a_key_is_of_values_and_not_of_how_they_are_written(tmp_path) -> None:
    """Defaults that are spelt out, whole numbers for others, and another order change nothing."""

    def key(values: dict[str, Any]) -> str:
        return Keys(Config.model_validate(values), layout).result(TOY_NAME, "protonet", 0)

    short = params(settings={TOY_NAME: {"protonet": {"lr": 1.0}}})
    del short["classification"]["backbone"]["settings"]
    long = params(seeds=[3, 0], settings={TOY_NAME: {"protonet": {}, "backbone": {"lr": 0.1}}})
    long["classification"]["backbone"]["settings"] = {"width": 64}
    long["settings"][TOY_NAME]["protonet"] = ProtoNetSettings().model_dump() | {"lr": 1}
    long["classification"] |= {"targets": [], "variants": {}, "methods": ["knn", "protonet"]}
    long = {name: long[name] for name in reversed(long)}
    layout = prepared(tmp_path, Config.model_validate(short))
    assert key(long) == key(short)
    for change in ({"settings": {}}, {"settings": {TOY_NAME: {"protonet": {"lr": 2}}}}):
        assert key(short | change) != key(short)
    short["classification"]["backbone"]["settings"] = {"width": 32}
    assert key(long) != key(short)
