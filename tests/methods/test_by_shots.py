"""Settings that differ by shots: what may, which are taken, and that prediction alone has them."""

from __future__ import annotations

import pytest
import torch

from metabench.config.search import adapts
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.feature.linear_probe import LinearProbe
from metabench.methods.parameter.fine_tune import FineTune
from metabench.methods.searching import drawn
from metabench.pipeline.validation import method_settings
from tests.methods import small
from tests.methods.parameter import test_text_methods

ADAPTING = [
    name
    for name in METHODS.names()
    if any(map(adapts, METHODS.load(name).Settings.model_fields.values()))
]


def test_the_settings_are_those_of_the_shots_or_of_the_nearest_number_on_a_log_scale() -> None:
    given = {1: {"head_lr": 0.1}, 4: {"head_lr": 0.4}, 16: {"finetune_lr": 0.2}}
    settings = FineTune.Settings(head_lr=0.7, by_shots=given)
    found = [settings.at(shots).head_lr for shots in (1, 2, 3, 4, 7, 8)]
    assert found == [0.1, 0.1, 0.4, 0.4, 0.4, 0.4]  # of two as near, the smaller
    assert settings.at(10_000).finetune_lr == 0.2 and settings.at(9).head_lr == 0.7
    assert settings.at(4).at(1).head_lr == 0.4  # they are of these shots now
    assert FineTune.Settings(head_lr=0.7).at(5).head_lr == 0.7
    again = FineTune.Settings.model_validate_json(settings.model_dump_json())
    assert again == settings and again.at(1).head_lr == 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({1: {"lr": 0.1}}, r"by_shots\.1\.lr: is not a setting of prediction alone.*head_lr"),
        ({1: {"headlr": 1}}, r"by_shots\.1\.headlr: is not .*Did you mean head_lr"),
        ({5: {"head_lr": -1}}, r"by_shots\.5\.head_lr: must be at least 0.0 \(value -1\)"),
        ({5: {"head_lr": "9"}}, r"by_shots\.5\.head_lr: must be a number"),
        ({0: {}}, r"by_shots\.0: must be at least 1"),
        ({1: 5}, r"by_shots\.1: must be a mapping"),
    ],
)
def test_what_cannot_differ_by_shots_is_refused(values, message) -> None:
    with pytest.raises(InputError, match=f"settings.s.fine_tune: {message}"):
        method_settings("fine_tune", {"by_shots": values}, "settings.s.fine_tune")


def test_a_failed_prediction_leaves_the_settings_as_they_were() -> None:
    method = small.build(LinearProbe, LinearProbe.Settings(by_shots={1: {"c": 3.0}}))
    given = method.settings
    with pytest.raises(KeyError), method.adapting(1):
        assert method.settings.c == 3.0
        raise KeyError
    assert method.settings is given


@pytest.mark.parametrize("name", ADAPTING)
def test_a_trained_method_predicts_with_other_settings_as_one_that_was_built_with_them(
    name,
) -> None:
    cls = METHODS.load(name)
    of = small if "vector" in cls.kinds else test_text_methods
    found = drawn(cls, None, lambda name: 0.3)
    values = {n: value for n, value in found.items() if adapts(cls.Settings.model_fields[n])}
    trained = of.build(cls, cls.Settings(by_shots={1: values}))
    rebuilt = of.build(cls, cls.Settings(**values))
    rebuilt.load_state_dict(trained.state_dict())
    asked = of.episodes()
    with trained.adapting(1):
        predicted = trained.predict(asked)
    torch.testing.assert_close(predicted, rebuilt.predict(asked), rtol=0, atol=0)
    # the covariance of LDA, which it shrinks, is the identity before it has seen a source
    assert name == "lda" or not torch.equal(predicted, trained.predict(asked))
