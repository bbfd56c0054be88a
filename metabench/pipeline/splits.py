"""Splits of the classes: seeds are nested in them, and each has data and episodes of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from metabench.config import Config
from metabench.data.builders import builder_of
from metabench.pipeline.layout import Layout

L = TypeVar("L", bound=Layout)


def split_anew(config: Config) -> frozenset[str]:
    """The datasets of which ``params.yaml`` asks for several splits."""
    names = config.used if config.splits > 1 else ()
    return frozenset(name for name in names if builder_of(config, name).split_anew)


def in_split(config: Config, layout: L, split: int) -> L:
    """``layout`` of the data and episodes of ``split``."""
    return replace(layout, split=split, split_anew=split_anew(config))


def data_cells(config: Config, datasets: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each dataset with each of its splits."""
    several = split_anew(config)
    for name in datasets:
        for split in range(config.splits if name in several else 1):
            yield name, split
