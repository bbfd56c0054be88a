"""Where a setting is searched: markers for ``Annotated``, beside the bounds of what it may be.

    lr: Annotated[Positive, Log(3e-4, 2e-2)] = 3e-3
    steps: Annotated[Whole, Log(1, 100), ADAPTS] = 15

A field without a marker is not searched; a subclass that declares the field again decides anew. All
ranges are read the same way: ``at(share)`` is the value below which that share of the draws lies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Log:
    """From ``low`` to ``high``, evenly on a logarithmic scale."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The value at ``share`` (0 to 1) of the range, to three digits."""
        return _rounded(self.low * (self.high / self.low) ** share)

    def __str__(self) -> str:
        return f"{self.low:g} … {self.high:g} (log)"


@dataclass(frozen=True)
class Linear:
    """From ``low`` to ``high``, evenly."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The value at ``share`` (0 to 1) of the range, to three digits."""
        return _rounded(self.low + (self.high - self.low) * share)

    def __str__(self) -> str:
        return f"{self.low:g} … {self.high:g}"


@dataclass(frozen=True, init=False)
class Choice:
    """One of ``values``, each as likely as the others."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)

    def at(self, share: float) -> Any:
        """The value at ``share`` (0 to 1) of the list."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def __str__(self) -> str:
        return ", ".join(map(json.dumps, self.values))


@dataclass(frozen=True, init=False)
class Per:
    """Another range for each value of another setting, which the class declares before this one."""

    setting: str
    ranges: Mapping[str, Log | Linear | Choice]

    def __init__(self, setting: str, **ranges: Log | Linear | Choice):
        object.__setattr__(self, "setting", setting)
        object.__setattr__(self, "ranges", ranges)

    def __str__(self) -> str:
        return "; ".join(f"{value}: {within}" for value, within in self.ranges.items())


Range = Log | Linear | Choice | Per


@dataclass(frozen=True)
class Adapts:
    """Marks a setting that prediction alone uses.

    Such a setting may differ by shots, and be searched without training again.
    """


ADAPTS = Adapts()


def range_of(field: FieldInfo) -> Range | None:
    """Where a field of a settings model is searched, if it is."""
    return next((mark for mark in field.metadata if isinstance(mark, Range)), None)


def adapts(field: FieldInfo) -> bool:
    """Whether prediction alone uses the field of a settings model."""
    return ADAPTS in field.metadata


def value_at(field: FieldInfo, within: Range, share: float, chosen: Mapping[str, Any]) -> Any:
    """The value at ``share`` of a range, rounded for a field of whole numbers.

    Args:
        chosen: values of the settings before it.
    """
    if isinstance(within, Per):
        within = within.ranges[chosen[within.setting]]
    value = within.at(share)
    whole = field.annotation is int or int in get_args(field.annotation)
    return round(value) if whole and isinstance(value, float) else value


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
