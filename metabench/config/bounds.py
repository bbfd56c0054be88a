"""Numbers from outside, with a bound at both ends: types for settings.

Whole numbers are whole (``true`` and ``"64"`` are none) and the others finite. The upper bounds are
generous: what lies beyond is a slip of the keyboard, which would hang, overflow or fill the memory
instead of computing. A setting that needs more narrowness says so itself, after the type, as the
last bound of a kind is the one that holds: ``steps: Annotated[Count, Field(ge=2)] = 8``.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

Count = Annotated[int, Field(strict=True, ge=1, le=10_000)]
"""Shots, queries, tasks, steps, neighbours."""
Whole = Annotated[int, Field(strict=True, ge=0, le=10_000)]
"""The same from 0."""
Shots = Annotated[int, Field(ge=1, le=10_000)]
"""A key of a mapping, which JSON holds as a text."""
Many = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""Rows and episodes, of which there may be more."""
Examples = Annotated[int, Field(strict=True, ge=1, le=10**12)]
"""A budget."""
Ways = Annotated[int, Field(strict=True, ge=2, le=10_000)]
Width = Annotated[int, Field(strict=True, ge=1, le=16_384)]
"""Channels, units, pixels of a side: memory grows with their square."""
Depth = Annotated[int, Field(strict=True, ge=1, le=100)]
"""Layers, heads."""
Processes = Annotated[int, Field(strict=True, ge=1, le=1024)]
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]
"""Learning rates, penalties, scales, temperatures."""
NonNegative = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
BelowOne = Annotated[Share, Field(lt=1)]

T = TypeVar("T")


def each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    """``values``, if nothing is there twice.

    Raises:
        ValueError: something is.
    """
    twice = sorted({repr(v) for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is there twice")
    return values


Distinct = Annotated[tuple[T, ...], AfterValidator(each_once)]
"""A list in which nothing is given twice."""
OneOrMore = Annotated[
    Distinct[T],
    Field(min_length=1),
    BeforeValidator(lambda given: given if isinstance(given, list | tuple) else (given,)),
    PlainSerializer(lambda values: values[0] if len(values) == 1 else list(values)),
]
"""Such a list, or its only member without brackets."""
