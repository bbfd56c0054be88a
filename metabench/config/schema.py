"""``params.yaml`` as typed, validated settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from metabench.config.bounds import Count, Distinct, Processes, Seed
from metabench.config.messages import explain, glance, nearest, refuse
from metabench.config.names import CodeName, PlainName, ReportsFolder
from metabench.config.own_data import OwnData
from metabench.config.task_types import Level, Regression, Strict, TaskType, Texts
from metabench.config.yaml_file import parse_text, text_of
from metabench.files import InputError


class Compute(Strict):
    """Where and how wide to run. Changes nothing in any result.

    Attributes:
        workers: processes, each of which computes one cell after another.
        threads: CPU threads of each worker; small networks run best with one.
        device: ``auto`` takes a GPU when there is one.
    """

    workers: Processes = 2
    threads: Processes = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"


TASK_TYPES = ("classification", "regression", "text", "relations")


class Config(Strict):
    """The whole of ``params.yaml``. A task type that is not used is absent.

    Attributes:
        profile: name of this set of parameters.
        reports: folder for the generated reports. It has no default, for dvc.yaml names it too.
        splits: partitions of the classes, among which seeds are dealt out. Datasets without a
            published split have so many, of which the first is the one in ``metabench/data``.
        datasets: data of one's own, by the name that sources and targets call them.
        settings: hyper-parameters by source and method, ``settings.<source>.<method>``; those of
            the pretraining that methods of a source share under the name ``backbone``. What is not
            here is as the method's file says.
    """

    profile: PlainName
    reports: ReportsFolder
    seeds: Annotated[Distinct[Seed], Field(min_length=1)] = (0, 1, 2)
    splits: Count = 1
    compute: Compute = Compute()
    classification: TaskType | None = None
    regression: Regression | None = None
    text: Texts | None = None
    relations: Texts | None = None
    datasets: dict[PlainName, OwnData] = Field(default_factory=dict)
    settings: dict[CodeName, dict[CodeName, dict[str, Any]]] = Field(default_factory=dict)

    @property
    def task_types(self) -> dict[str, TaskType]:
        """The task types that are used, by name."""
        found = {label: getattr(self, label) for label in TASK_TYPES}
        return {label: task_type for label, task_type in found.items() if task_type is not None}

    @property
    def used(self) -> tuple[str, ...]:
        """Every dataset that is prepared: those of all task types."""
        names = [name for task_type in self.task_types.values() for name in task_type.used]
        return tuple(dict.fromkeys(names))

    def seeds_of(self, source: str, name: str) -> tuple[int, ...]:
        """The seeds of (source, method or variant): none where the variant leaves it out."""
        sources = self.task_type_of(source).variant(name).sources
        return self.seeds if not sources or source in sources else ()

    def split_of(self, seed: int) -> int:
        """The split of the classes to which ``seed`` belongs."""
        return seed % self.splits

    def settings_of(self, source: str, name: str) -> dict[str, Any]:
        """Hyper-parameters of (source, method or variant), as they are given."""
        return self.settings.get(source, {}).get(name, {})

    def task_type_of(self, dataset: str) -> TaskType:
        """The task type in which ``dataset`` is a source or a target.

        Raises:
            InputError: no task type uses it.
        """
        for task_type in self.task_types.values():
            if dataset in task_type.used:
                return task_type
        raise InputError(
            f"params.yaml: dataset '{dataset}' is in no task type's sources or targets"
        )

    def at(self, level: Level | None) -> Config:
        """The same for the cells of one level, in whatever task type; None: for all levels."""
        if level is None:
            return self
        narrowed = {
            label: task_type.model_copy(update={"budget": task_type.budget.at(level)})
            for label, task_type in self.task_types.items()
        }
        return self.model_copy(update=narrowed)

    def values(self) -> dict[str, Any]:
        """The content of a ``params.yaml`` that says all this, defaults too."""
        return self.model_dump(mode="json", exclude=set(TASK_TYPES) - set(self.task_types))


def disagreements(config: Config) -> Iterator[str]:
    """What does not go together in ``params.yaml``, as far as no code need be known."""
    if not config.task_types:
        yield f"no task type is there: add one of {', '.join(TASK_TYPES)}, with sources and methods"
    if empty := set(range(config.splits)) - {config.split_of(seed) for seed in config.seeds}:
        yield (
            f"splits: no seed belongs to split {min(empty)}, as seed s belongs to split s modulo "
            f"{config.splits}. Add seeds, or lower splits"
        )
    for label, task_type in config.task_types.items():
        yield from (f"{label}.{problem}" for problem in _disagreements_of(task_type))
        if isinstance(task_type, Regression) and task_type.budget.source_classes != (1.0,):
            yield f"{label}.budget.source_classes: there are no classes. Leave it out"
    for name in config.used:
        found = [label for label, task_type in config.task_types.items() if name in task_type.used]
        if len(found) > 1:
            yield f"{found[1]}: '{name}' is used by {' and '.join(found)}; one of them can have it"


def _disagreements_of(task_type: TaskType) -> Iterator[str]:
    """Names of one task type that stand for nothing in it, and settings that are there twice."""
    labels = list(dict.fromkeys(setting.label for setting in task_type.evaluation.settings))
    skippable = [
        *labels,
        *(f"{target}/{label}" for target in task_type.datasets for label in labels),
    ]
    lists: list[tuple[str, Iterable[str], Sequence[str]]]
    lists = [("out_of_scope", task_type.out_of_scope, task_type.datasets)]
    for i, setting in enumerate(task_type.evaluation.settings):
        lists.append((f"evaluation.settings.{i}.datasets", setting.datasets, task_type.datasets))
    for name, variant in task_type.variants.items():
        if name not in task_type.methods:
            yield f"variants.{name}: '{name}' is not in methods. {nearest(name, task_type.methods)}"
        lists.append((f"variants.{name}.sources", variant.sources, task_type.sources))
        lists.append((f"variants.{name}.skip", variant.skip, skippable))
    for key, names, known in lists:
        for name in names:
            if name not in known:
                yield f"{key}: {glance(name)} is not used here. {nearest(name, known)}"
    asked = Counter(
        (target, setting.label)
        for setting in task_type.evaluation.settings
        for target in setting.datasets or task_type.datasets
    )
    twice = dict.fromkeys(form for (_, form), count in asked.items() if count > 1)
    yield from (f"evaluation.settings: {form} is there twice" for form in twice)


def read(path: Path = Path("params.yaml")) -> Config:
    """Read ``params.yaml`` and validate each value of it, but not what they are together.

    Raises:
        InputError: not YAML, unknown key, wrong type or value.
    """
    return of_text(text_of(path), str(path))


def of_text(text: str, where: str) -> Config:
    """As :func:`read`, of a text.

    Raises:
        InputError: not YAML, unknown key, wrong type or value.
    """
    return validated(parse_text(text, where), where)


def validated(values: Any, where: str) -> Config:
    """The content of a ``params.yaml``, each value of it validated.

    Raises:
        InputError: unknown key, wrong type or value.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: must hold a mapping of settings")
    if old := list(_of_the_first_version(values)):
        raise InputError(f"{where}: is written for metabench 0.1. {'; '.join(old)}.")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain(error, Config, where) from error


def _of_the_first_version(values: dict[Any, Any]) -> Iterator[str]:
    """What is to be done with parameters as they were written until version 0.1."""
    if isinstance(values.get("methods"), dict):
        yield "Rename the section `methods` to `settings`"
    if isinstance(values.get("datasets"), list):
        yield "Delete the list `datasets`: they follow from sources, targets and out_of_scope"
    old = isinstance(values.get("datasets"), list) or "methods" in values
    for label in TASK_TYPES if old else ():
        if isinstance(values.get(label), dict) and not values[label].get("sources"):
            yield f"Delete `{label}`, which has no sources"


def load(path: Path = Path("params.yaml")) -> Config:
    """Read ``params.yaml``; :mod:`metabench.pipeline.validation` checks what needs the code.

    Raises:
        InputError: not YAML, unknown key, wrong type or value, or names that do not agree.
    """
    config = read(path)
    refuse(disagreements(config), str(path))
    return config
