"""How the datasets of a profile come to be, by their names in ``params.yaml``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from metabench.config import Config
from metabench.data import DATASETS
from metabench.data.base import Builder

OWN = "metabench.data.entries"
"""Module of own data, imported by name as those of the registry are: so what trains depends neither
on the code that reads files, nor on the packages for that."""


def builder_of(config: Config, name: str, root: Path = Path()) -> Builder:
    """How the dataset comes to be that ``params.yaml`` calls ``name``: its own, or a registered.

    Args:
        root: the folder of ``params.yaml``.

    Raises:
        InputError: unknown name, or an augmentation that there is not.
    """
    entry = config.datasets.get(name)
    if entry is None:
        return DATASETS.load(name)
    builder: Builder = own_data().own_builder(name, entry, root)
    return builder


def own_data() -> Any:
    """The module :data:`OWN`."""
    return importlib.import_module(OWN)
