"""A part of ``params.yaml``: which of its cells are meant. Light: imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metabench.config import Config, Level, TaskType
from metabench.config.messages import glance, nearest
from metabench.files import InputError

if TYPE_CHECKING:
    from metabench.pipeline.pretrainings import Pretraining


Learner = tuple[str, str, Level | None, int]
"""Source, method or variant, level (None where nothing is spent) and seed."""


@dataclass(frozen=True)
class Part:
    """What of ``params.yaml`` is meant: the cells of these methods and sources; empty: of all."""

    methods: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def task_types(self, config: Config) -> list[TaskType]:
        """The task types that have sources and methods in this part."""
        found = config.task_types.values()
        return [t for t in found if self.sources_of(t) and self.methods_of(t)]

    def sources_of(self, task_type: TaskType) -> list[str]:
        """The sources of ``task_type`` in this part."""
        return [name for name in task_type.sources if not self.sources or name in self.sources]

    def methods_of(self, task_type: TaskType) -> list[str]:
        """The methods and variants of ``task_type`` in this part."""
        return [name for name in task_type.methods if not self.methods or name in self.methods]

    def datasets(self, config: Config) -> list[str]:
        """All datasets that these cells learn from, or are evaluated on."""
        return [name for task_type in self.task_types(config) for name in task_type.used]

    def backbones(self, config: Config) -> Iterator[tuple[str, Pretraining, Level, int]]:
        """Source, pretraining, level and seed of each backbone that some learner starts from."""
        from metabench.pipeline.pretrainings import pretraining_of  # imports torch

        asked = {
            (source, pretraining, level, seed): None
            for source, method, level, seed in self.learners(config)
            if level and (pretraining := pretraining_of(config, source, method))
        }
        yield from asked

    def learners(self, config: Config) -> Iterator[Learner]:
        """Each learner: source, method or variant, level and seed."""
        from metabench.pipeline.pretrainings import levels_of  # imports torch

        for task_type in self.task_types(config):
            for source in self.sources_of(task_type):
                for method in self.methods_of(task_type):
                    for level in levels_of(config, source, method):
                        for seed in config.seeds_of(source, method):
                            yield source, method, level, seed


WHOLE = Part()


def part_of(config: Config, methods: Collection[str] = (), sources: Collection[str] = ()) -> Part:
    """The cells of these methods and sources; none given: of all.

    Raises:
        InputError: a name is not in ``params.yaml``, or no cell has both.
    """
    task_types = config.task_types.values()
    for what, asked, known in (
        ("method", methods, sorted({name for t in task_types for name in t.methods})),
        ("source", sources, sorted({name for t in task_types for name in t.sources})),
    ):
        for name in asked:
            if name not in known:
                hint = nearest(name, known)
                raise InputError(f"params.yaml has no {what} {glance(name)}. {hint}")
    part = Part(frozenset(methods), frozenset(sources))
    if (methods or sources) and not any(part.learners(config)):
        raise InputError(
            f"params.yaml: no learner of {', '.join(methods)} is trained on {', '.join(sources)}"
        )
    return part
