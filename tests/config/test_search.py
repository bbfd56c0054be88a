"""Ranges of settings: their scale, their rounding, and what a field says of itself."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from metabench.config.bounds import Count, Positive, Whole
from metabench.config.search import ADAPTS, Choice, Linear, Log, Per, adapts, range_of, value_at


class Example(BaseModel):
    optimizer: str = "adamw"
    rate: Annotated[Positive, Log(1e-4, 1e-1)] = 1e-2
    decay: Annotated[float, Per("optimizer", adamw=Choice(0.1), sgd=Linear(0, 1))] = 0.0
    steps: Annotated[Whole, Log(1, 100), ADAPTS] = 15
    share: Annotated[Positive, Linear(0.2, 0.6)] = Field(0.4, lt=0.9)
    queries: Annotated[Count | None, Choice(None, 1, 15)] = None
    size: Count = 3


class Narrower(Example):
    rate: Annotated[Positive, Log(1e-5, 1e-3)] = 1e-4
    steps: Whole = 3


def test_a_range_is_even_on_its_scale() -> None:
    assert [Log(1e-4, 1e-2).at(s) for s in (0, 0.5, 1)] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert [Linear(0.2, 0.6).at(s) for s in (0, 0.5, 1)] == pytest.approx([0.2, 0.4, 0.6])
    assert [Choice("a", "b").at(s) for s in (0, 0.49, 0.5, 1)] == ["a", "a", "b", "b"]
    assert Log(1, 10).at(1 / 3) == 2.15  # as it is written into params.yaml


def test_a_field_says_where_it_is_searched_and_whether_prediction_alone_uses_it() -> None:
    fields = Example.model_fields
    found = {name: range_of(field) for name, field in fields.items()}
    assert found["rate"] == Log(1e-4, 1e-1) and found["share"] == Linear(0.2, 0.6)
    assert found["queries"] == Choice(None, 1, 15) and found["size"] is None
    assert [name for name, field in fields.items() if adapts(field)] == ["steps"]


def test_whole_numbers_are_drawn_whole() -> None:
    steps = Example.model_fields["steps"]
    found = value_at(steps, Log(1, 100), 0.3, {})
    assert found == 4 and isinstance(found, int)
    assert value_at(Example.model_fields["queries"], Choice(None, 1, 15), 0, {}) is None


def test_a_range_may_depend_on_a_setting_before_it() -> None:
    decay = Example.model_fields["decay"]
    within = range_of(decay)
    assert within is not None and str(within) == "adamw: 0.1; sgd: 0 … 1"
    assert value_at(decay, within, 0.3, {"optimizer": "sgd"}) == 0.3
    assert value_at(decay, within, 0.3, {"optimizer": "adamw"}) == 0.1


def test_a_subclass_that_declares_a_field_again_decides_anew() -> None:
    assert range_of(Narrower.model_fields["rate"]) == Log(1e-5, 1e-3)
    assert range_of(Narrower.model_fields["steps"]) is None
