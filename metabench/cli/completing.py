"""What the shell completes. Nothing here imports torch; a wrong params.yaml completes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from metabench.backbones import BACKBONES
from metabench.cli.base import PARAMS
from metabench.config import TaskType, read
from metabench.config.names import BACKBONE
from metabench.config.own_data import OwnData
from metabench.files import InputError
from metabench.methods import METHODS


def profiles(incomplete: str) -> list[str]:
    """Names of profiles, metabench's own and those in this folder."""
    from metabench.pipeline.project import profiles as known

    return _of(incomplete, sorted(known(Path("profiles"))))


def registered(incomplete: str) -> list[str]:
    """Names of methods, backbones and datasets."""
    from metabench.data import DATASETS  # imports numpy

    known = [*METHODS.names(), BACKBONE, *BACKBONES.names(), *DATASETS.names(), *own_data()]
    return _of(incomplete, known)


def methods(incomplete: str) -> list[str]:
    """Names of methods, built in or installed."""
    return _of(incomplete, METHODS.names())


def datasets(incomplete: str) -> list[str]:
    """Names of datasets."""
    from metabench.data import DATASETS  # imports numpy

    return _of(incomplete, DATASETS.names())


def methods_in_use(incomplete: str) -> list[str]:
    """The methods of params.yaml, variants too."""
    return _of(incomplete, (name for task_type in _in_use() for name in task_type.methods))


def sources_in_use(incomplete: str) -> list[str]:
    """The sources of params.yaml."""
    return _of(incomplete, (name for task_type in _in_use() for name in task_type.sources))


def targets_in_use(incomplete: str) -> list[str]:
    """The targets of params.yaml, sources among them."""
    return _of(incomplete, (name for task_type in _in_use() for name in task_type.datasets))


def own_data() -> dict[str, OwnData]:
    """The datasets of one's own in params.yaml."""
    with suppress(InputError):
        return read(PARAMS).datasets
    return {}


def _of(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _in_use() -> list[TaskType]:
    with suppress(InputError):
        return list(read(PARAMS).task_types.values())
    return []
