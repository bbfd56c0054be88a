"""Every number that comes from outside has a lower and an upper bound."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from metabench.backbones import BACKBONES
from metabench.config import Config
from metabench.config.bounds import Count, Distinct, Positive, Seed
from metabench.config.names import BACKBONE
from metabench.methods import METHODS
from metabench.methods.searching import drawn
from metabench.pipeline.validation import learner_class


def numbers(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """What is demanded of each number in a type: in lists, mappings and models too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            for demands in numbers(field.annotation, tuple(field.metadata)):
                yield (name, *demands)
    elif hasattr(annotation, "__metadata__"):
        yield from numbers(annotation.__origin__, (*metadata, *annotation.__metadata__))
    elif annotation in (int, float):
        flat = [m for d in metadata for m in (d.metadata if isinstance(d, FieldInfo) else [d])]
        yield (annotation, *flat)
    elif annotation is not bool:
        for part in get_args(annotation):
            if not isinstance(part, str):
                yield from numbers(part, metadata)


def unbounded(annotation: Any) -> list[Any]:
    """The numbers of a type that are not bounded at both ends, or let ``nan`` pass."""
    found = []
    for demands in numbers(annotation):
        kinds = {type(d) for d in demands}
        finite = any(getattr(d, "allow_inf_nan", True) is False for d in demands)
        if not (kinds & {Ge, Gt} and kinds & {Le, Lt} and (finite or int in demands)):
            found.append(demands)
    return found


class Forgetful(BaseModel):
    count: int | None = None
    rates: tuple[float, ...] = ()
    once: Distinct[Count] = ()
    rate: Positive = 1.0


def test_the_walk_finds_what_was_forgotten() -> None:
    assert [demands[0] for demands in unbounded(Forgetful)] == ["count", "rates"]


def test_every_number_of_params_is_bounded() -> None:
    assert len(list(numbers(Config))) > 15
    assert unbounded(Config) == []


@pytest.mark.parametrize("name", [BACKBONE, *METHODS.names()])
def test_every_number_of_a_method_is_bounded_and_searched_within(name) -> None:
    method = learner_class(name)
    assert unbounded(method.Settings) == []
    for share in (0, 0.3, 1):
        assert method.Settings.model_validate(drawn(method, None, lambda name, s=share: s))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_number_of_a_backbone_is_bounded(name) -> None:
    constructor = BACKBONES.load(name).__init__
    hints = get_type_hints(constructor, include_extras=True)
    _, _, *parameters = inspect.signature(constructor).parameters
    assert [unbounded(hints[p]) for p in parameters] == [[]] * len(parameters)


@pytest.mark.parametrize("value", [True, "3", 2.5, None, 10**30, -1])
def test_what_is_no_such_number_is_refused(value) -> None:
    check = TypeAdapter(Seed)
    assert check.validate_python(3) == 3
    with pytest.raises(ValueError):
        check.validate_python(value)


@pytest.mark.parametrize(
    ("method", "field", "low"),
    [
        ("reptile", "steps", 2),
        ("unicorn_maml", "steps", 2),
        ("setfit", "chunk", 2),
        ("snail", "length", 2),
        ("gradual_unfreezing", "decay", 1.0),
    ],
)
def test_the_narrower_of_two_bounds_holds(method, field, low) -> None:
    """Of two bounds of a kind, pydantic keeps the last: the type's own must come first."""
    settings = METHODS.load(method).Settings
    settings.model_validate({field: low})
    with pytest.raises(ValidationError, match="greater than or equal"):
        settings.model_validate({field: low * 0.5 if isinstance(low, float) else low - 1})
