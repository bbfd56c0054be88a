"""Every registered method conforms, and what is no method is refused."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from torch import nn

from metabench.conformance import PROPERTIES, check
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
