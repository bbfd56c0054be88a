"""Which settings of a method have an effect, and where they are searched."""

from __future__ import annotations

import pytest

from metabench.backbones.conv4 import Conv4
from metabench.backbones.minilm import MiniLM, MiniLMFrozen
from metabench.config.search import Linear, Log, adapts
from metabench.learning.pretraining import Pretrain
from metabench.methods import METHODS
from metabench.methods.feature.ridge import Ridge
from metabench.methods.feature.simpleshot import SimpleShot
from metabench.methods.metric.protonet import ProtoNet
from metabench.methods.model.mann import MANN
from metabench.methods.parameter.lora import LoRA
from metabench.methods.searching import drawn, effective, searched


def test_settings_of_training_count_only_as_far_as_the_method_trains() -> None:
    assert effective(Ridge) == ["pretraining", "by_shots", "penalty"]
    assert effective(SimpleShot) == ["pretraining", "scale"]
    assert "batch" in effective(Pretrain) and "tasks" not in effective(Pretrain)
    assert "tasks" in effective(ProtoNet) and "batch" not in effective(ProtoNet)


def test_a_support_is_augmented_only_where_the_network_sees_it_at_each_step() -> None:
    strength = "support_augmentation"
    assert all(strength in searched(METHODS.load(name)) for name in ("maml", "scratch", "pmf"))
    assert strength not in searched(METHODS.load("anil"))


def test_vectors_of_a_frozen_encoder_have_no_augmentation_to_search() -> None:
    assert "augmentation" in searched(ProtoNet, MiniLM)
    found = searched(ProtoNet, MiniLMFrozen)
    assert "tasks" in found and "augmentation" not in found
    assert "support_augmentation" not in searched(METHODS.load("scratch"), MiniLMFrozen)


def test_a_backbone_moves_the_range_of_what_trains_it() -> None:
    top, moved = (
        drawn(ProtoNet, backbone, lambda name: 0.99)["lr"] for backbone in (Conv4, MiniLM)
    )
    assert moved < top
    assert "lr" not in searched(Ridge, MiniLM)


def test_the_number_of_ways_is_not_searched_where_it_is_fixed() -> None:
    assert "ways" in searched(ProtoNet) and "ways" not in searched(MANN)


def test_a_scale_that_changes_no_decision_is_not_searched() -> None:
    assert "scale" not in searched(SimpleShot)


@pytest.mark.parametrize("name", METHODS.names())
def test_the_default_lies_within_the_range(name) -> None:
    method = METHODS.load(name)
    for field, within in searched(method).items():
        default = method.Settings.model_fields[field].default
        if isinstance(within, Log | Linear):
            assert within.low <= default <= within.high, field


def test_what_a_method_without_training_searches_may_differ_by_shots() -> None:
    assert all(adapts(LoRA.Settings.model_fields[name]) for name in searched(LoRA, MiniLM))


def test_pretraining_is_searched_by_who_starts_from_the_source_s() -> None:
    asked = {"pretraining", "pretraining_share"}
    assert asked & set(searched(Ridge, Conv4)) == {"pretraining"}
    assert asked & set(searched(METHODS.load("feat"), Conv4)) == asked
    assert not asked & set(searched(ProtoNet, Conv4)) and not asked & set(searched(Ridge, MiniLM))
