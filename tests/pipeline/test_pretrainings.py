"""Pretraining as a setting: recipes, shares of the budget, and each backbone computed once."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from metabench.config import Budget, Config
from metabench.files import InputError, read_json
from metabench.learning.pretraining import PretrainSettings
from metabench.pipeline.cells import pretrain_cell, train_cell
from metabench.pipeline.part import WHOLE, part_of
from metabench.pipeline.pretrainings import Pretraining, pretraining_of, recipe
from metabench.pipeline.validation import validate_names
from tests.toy import TOY_NAME, params, prepared


def config_of(**settings: dict[str, Any]) -> Config:
    """The toy config with these methods and settings."""
    values = params(settings={TOY_NAME: settings})
    values["classification"]["methods"] = [name for name in settings if name != "backbone"]
    return Config.model_validate(values)


def test_recipe_0_is_what_params_yaml_says_and_the_others_are_drawn_for_all_methods_alike() -> None:
    given = {"batch": 7, "lr": 0.004}
    found = [recipe(config_of(protonet={}, backbone=given), TOY_NAME, i) for i in range(8)]
    assert found[0] == PretrainSettings(**given)
    assert found == [recipe(config_of(knn={}, backbone=given), TOY_NAME, i) for i in range(8)]
    rates = [settings.lr for settings in found[1:]]
    assert len(set(rates)) == 7 and all(3e-4 <= lr <= 0.5 for lr in rates)
    assert min(rates) < 2.5e-3 < max(rates), "both halves of a logarithmic range"
    assert found[3].clip == found[0].clip and found[3].tasks == found[0].tasks


@pytest.mark.parametrize(
    ("share", "validations", "parts"),
    [(0.25, 8, (2, 6)), (0.5, 5, (2, 3)), (0.75, 2, (1, 1)), (0.5, 1, (1, 1))],
)
def test_a_budget_is_split_without_rest_and_both_parts_are_validated(
    share, validations, parts
) -> None:
    whole = Budget(examples=1001, validations=validations)
    first, rest = whole.split(share)
    assert first.level.examples + rest.level.examples == 1001
    assert first.level.examples == round(1001 * share)
    assert (first.validations, rest.validations) == parts
    assert first.val_episodes == rest.val_episodes == whole.val_episodes


def test_only_pretrainings_that_are_asked_for_are_computed_and_each_once() -> None:
    config = config_of(
        protonet={},
        knn={},
        linear_probe={},
        fine_tune={"pretraining": 3},
        meta_baseline={"pretraining_share": 0.25},
    )
    asked = [str(pretraining) for _, pretraining, _, _ in WHOLE.backbones(config)]
    assert asked == ["recipe0-share1", "recipe3-share1", "recipe0-share0.25"]
    assert pretraining_of(config, TOY_NAME, "protonet") is None
    assert list(part_of(config, ["protonet"]).backbones(config)) == []


def test_a_hybrid_spends_its_share_on_pretraining_and_the_rest_by_itself(tmp_path) -> None:
    form = {"ways": 5, "queries": 3, "tasks": 1}
    config = config_of(meta_baseline={"pretraining": 2, "pretraining_share": 0.25} | form)
    layout, quarter = prepared(tmp_path, config), Pretraining(2, 0.25)
    with pytest.raises(InputError, match=r"recipe2-share0\.25/0: no pretrained backbone"):
        train_cell(lambda *a: None, config, layout, TOY_NAME, "meta_baseline", 0)
    pretrain_cell(lambda *a: None, config, layout, TOY_NAME, quarter, 0)
    train_cell(lambda *a: None, config, layout, TOY_NAME, "meta_baseline", 0)
    backbone = layout.backbone(TOY_NAME, quarter, 0)
    learner = layout.learner(TOY_NAME, "meta_baseline", 0)
    before, cost = (read_json(folder / "cost.json") for folder in (backbone, learner))
    batch = recipe(config, TOY_NAME, 2).batch
    assert 100 <= before["examples"] < 100 + batch, "a quarter of 400"
    own = cost["examples"] - before["examples"]
    assert 300 <= own < 300 + 25, "ways × (shots + queries) are at most 25"
    assert cost["pretrain_seconds"] == before["train_seconds"]
    assert cost["train_flops"] > before["train_flops"]
    assert len(pd.read_csv(backbone / "curve.csv")) == 1
    assert len(pd.read_csv(learner / "curve.csv")) == 3


@pytest.mark.parametrize(
    ("method", "setting", "reason"),
    [
        ("protonet", "pretraining", "it starts at random"),
        ("scratch", "pretraining", "it starts at random"),
        ("linear_probe", "pretraining_share", "its pretraining has the whole budget"),
        ("linear_probe", "lr", "is not trained on the source"),
        ("maml", "batch", "is trained on episodes"),
        ("rfs", "shots", "is trained on plain batches"),
        ("backbone", "pretraining", "it starts at random"),
    ],
)
def test_a_setting_that_changes_nothing_is_refused_by_name(method, setting, reason) -> None:
    value = {"shots": [1], "pretraining_share": 0.25}.get(setting, 1)
    config = config_of(**{method: {setting: value}}, knn={})
    with pytest.raises(InputError) as found:
        validate_names(config)
    where = f"params.yaml: settings.{TOY_NAME}.{method}.{setting}: has no effect"
    assert str(found.value).startswith(where) and reason in str(found.value)
    assert len(str(found.value).splitlines()) == 1


def test_a_backbone_that_was_pretrained_elsewhere_takes_no_recipe() -> None:
    frozen = {"method": "linear_probe", "backbone": {"name": "minilm_frozen"}}
    values = params(settings={TOY_NAME: {"frozen": {"pretraining": 1}}})
    values["classification"] |= {"methods": ["frozen"], "variants": {"frozen": frozen}}
    with pytest.raises(InputError, match=r"frozen\.pretraining: has no effect"):
        validate_names(Config.model_validate(values))
