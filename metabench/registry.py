"""Names in ``params.yaml`` to classes, without importing what is not used.

A third party adds a name by an entry point in the registry's group, or uses a dotted path
``package.module:Class`` in place of a name; this repository need not change.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from metabench.files import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Lazy mapping from a name to the object at ``module:attribute``.

    Args:
        what: the kind of thing, for messages ("method").
        targets: built-in names and where they live.
        group: entry-point group for third parties.
    """

    def __init__(self, what: str, targets: Mapping[str, str], group: str):
        self.what = what
        self._targets = dict(targets)
        self._group = group

    def names(self) -> list[str]:
        """All known names: built in, then installed entry points."""
        return [*self._targets, *(e.name for e in entry_points(group=self._group))]

    def target(self, name: str) -> str:
        """Where ``name`` lives, as ``module:attribute``.

        Raises:
            InputError: unknown name; the message gives the nearest known ones.
        """
        if name in self._targets:
            return self._targets[name]
        if ":" in name:
            return name
        for entry in entry_points(group=self._group, name=name):
            return entry.value
        near = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.4)
        hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(self.names())}."
        raise InputError(f"unknown {self.what} '{name}'. {hint}")

    def module(self, name: str) -> str:
        """The module that ``name`` lives in, as a dotted name."""
        return self.target(name).partition(":")[0]

    def load(self, name: str) -> T:
        """Import and return the object registered as ``name``.

        Raises:
            InputError: unknown name, or its module or attribute cannot be imported.
        """
        target = self.target(name)
        module, _, attribute = target.partition(":")
        try:
            found: Any = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f"{self.what} '{name}': cannot load {target} ({error})") from error
        return cast(T, found)
