"""Costs that cannot be compared: of several machines, or of another number of threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

COSTS_OF = {"trained_on": ("train s", "MB"), "evaluated_on": ("adapt ms", "MB")}
"""Columns of a board that depend on where a learner was trained, and evaluated."""


@dataclass(frozen=True)
class Mixed:
    """What the rows of a board have of several machines.

    Attributes:
        columns: names of the columns of cost.
        machines: which machines these are; empty where costs can be compared.
    """

    columns: tuple[str, ...]
    machines: tuple[str, ...]

    def head(self, column: str) -> str:
        """A column's name, with a mark that :attr:`note` explains."""
        return f"{column} †" if column in self.columns else column

    @property
    def note(self) -> str:
        """What the mark means; empty without one."""
        if not self.columns:
            return ""
        return f"† Measured on several machines, so not comparable: {listed(self.machines)}."


def mixed(rows: pd.DataFrame) -> Mixed:
    """What ``rows`` of a summary mix; boards of older versions do not know and mix nothing."""
    found = {
        column: sorted({name for names in rows[column] for name in str(names).split("; ")})
        for column in COSTS_OF
        if column in rows
    }
    several = {column: names for column, names in found.items() if len(names) > 1}
    return Mixed(
        tuple(dict.fromkeys(cost for column in several for cost in COSTS_OF[column])),
        tuple(sorted({name for names in several.values() for name in names})),
    )


def machines_of(record: Mapping[Any, Any]) -> dict[str, str]:
    """Where the learner of a record was trained and evaluated, in words."""
    trained = {label(m) for m in (record["pretrained_on"], record["trained_on"]) if m is not None}
    return {"trained_on": listed(trained), "evaluated_on": label(record["machine"])}


def listed(machines: Iterable[str]) -> str:
    """Each of ``machines`` once, in one text."""
    return "; ".join(sorted(set(machines)))


def label(machine: Mapping[str, Any]) -> str:
    """What costs depend on, such as ``Xeon 6, 1 thread`` or ``H100 (Xeon 6, 4 threads)``."""
    threads = machine["threads"]
    host = f"{machine['processor']}, {threads} thread{'s' if threads != 1 else ''}"
    return f"{machine['gpu']} ({host})" if machine["gpu"] else host
