"""Names in ``params.yaml`` to classes, without importing what is not used.

A third party adds a name by an entry point in the registry's group, or uses a dotted path
``package.module:Class`` in place of a name; this repository need not change. A dotted path runs
code, so one that comes from a file is followed only if the caller trusts it (:data:`Trust`).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from metabench.config.messages import glance, nearest
from metabench.files import InputError

T = TypeVar("T")

Trust = bool | Collection[str]
"""Which dotted paths of a file may be imported: all, none, or these."""


def _found_at(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def _entries(group: str) -> dict[str, str]:
    """Names and targets of installed entry points: read once, asked for with every key."""
    return {entry.name: entry.value for entry in entry_points(group=group)}


class Registry(Generic[T]):
    """Lazy mapping from a name to the object at ``module:attribute``.

    Args:
        what: the kind of thing, for messages ("method").
        targets: built-in names and where they live.
        group: entry-point group for third parties.
        base: where the class lives of which subclasses are registered, or instances.
        classes: which of the two.
        renamed: attributes that had another name before, old to new. Under the old one they would
            do nothing, and nobody would notice.
    """

    def __init__(
        self,
        what: str,
        targets: Mapping[str, str],
        group: str,
        base: str,
        classes: bool = True,
        renamed: Mapping[str, str] = MappingProxyType({}),
    ):
        self.what = what
        self._targets = dict(targets)
        self._group = group
        self._base = base
        self._classes = classes
        self._renamed = renamed

    def names(self) -> list[str]:
        """All known names: built in, then installed entry points."""
        return [*self._targets, *_entries(self._group)]

    def target(self, name: str) -> str:
        """Where ``name`` lives, as ``module:attribute``.

        Raises:
            InputError: unknown name; the message gives the nearest known ones.
        """
        if name in self._targets:
            return self._targets[name]
        if ":" in name:
            return name
        if name in (entries := _entries(self._group)):
            return entries[name]
        raise InputError(f"unknown {self.what} {glance(name)}. {nearest(name, self.names())}")

    def module(self, name: str) -> str:
        """The module that ``name`` lives in, as a dotted name."""
        return self.target(name).partition(":")[0]

    def imports(self, name: str) -> str | None:
        """The module that ``name`` would import for being a dotted path, not a registered name."""
        return self.module(name) if ":" in name and name not in self._targets else None

    def load(self, name: str) -> T:
        """Import and return the object registered as ``name``.

        Raises:
            InputError: unknown name, its module cannot be imported, for whatever reason, or what is
                there is not of the registry's kind.
        """
        target = self.target(name)
        try:
            found = _found_at(target)
        except (Exception, SystemExit) as error:  # a module may do anything while it is imported
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise InputError(f"{self.what} '{name}': cannot load {target} ({reason})") from error
        base = _found_at(self._base)
        a_class = isinstance(found, type)
        if not (a_class and issubclass(found, base) if self._classes else isinstance(found, base)):
            kind = "subclass" if self._classes else "instance"
            raise InputError(f"{self.what} '{name}': {target} is no {kind} of {self._base}")
        if old := [f"{a} is now {b}" for a, b in self._renamed.items() if hasattr(found, a)]:
            raise InputError(f"{self.what} '{name}': rename in {target}: {', '.join(old)}")
        if inspect.isabstract(found):
            missing = ", ".join(sorted(found.__abstractmethods__))
            raise InputError(f"{self.what} '{name}': {target} does not implement {missing}")
        return cast(T, found)
