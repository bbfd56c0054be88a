"""``params.yaml`` as typed, validated settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metabench.config.bounds import Count, Distinct, Examples, Many, Processes, Seed, Whole
from metabench.config.messages import explain, glance, nearest, refuse
from metabench.config.names import CodeName, PlainName, ReportsFolder, VariantName
from metabench.config.yaml_file import parse
from metabench.files import InputError


class Strict(BaseModel):
    """Unknown keys are errors; values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Compute(Strict):
    """Where and how wide to run. Changes nothing in any result.

    Attributes:
        workers: cells side by side, each in a process of its own.
        threads: CPU threads of each worker; small networks run best with one.
        device: ``auto`` takes a GPU when there is one.
    """

    workers: Processes = 2
    threads: Processes = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"


class BackboneChoice(Strict):
    """A registered backbone and its settings."""

    name: CodeName = "conv4"
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """Short name for tables, such as ``conv4-32``."""
        widths = self.settings.get("width", self.settings.get("widths", ""))
        text = "-".join(map(str, widths)) if isinstance(widths, list | tuple) else str(widths)
        return f"{self.name}-{text}" if text else self.name


class Budget(Strict):
    """What every method may spend on a source.

    Attributes:
        examples: source examples processed, repeats counted (pretraining and meta-training alike).
        validations: times the learner is scored on ``val`` episodes; the best score is kept.
        val_episodes: episodes of one such score, per number of training shots.
    """

    examples: Examples = 60_000
    validations: Count = 8
    val_episodes: Many = Field(60, ge=2)


class Training(Strict):
    """Form of a training episode; one of ``shots`` is drawn for each step."""

    ways: Whole = 5
    shots: Distinct[Count] = (1, 5)
    queries: Count = 15


class Setting(Strict):
    """A form of evaluation episode: ``ways`` (0 for regression) and ``shots``.

    ``datasets`` restricts the setting to these targets; empty: all.
    """

    ways: Whole = 5
    shots: Count
    datasets: Distinct[str] = ()

    @property
    def label(self) -> str:
        """``5w1s``, or ``10s`` for regression."""
        return f"{self.ways}w{self.shots}s" if self.ways else f"{self.shots}s"


class Evaluation(Strict):
    """Frozen episodes: how many, with how many queries (per class), in which settings.

    Attributes:
        steps: also record the error after these numbers of adaptation steps, for methods that
            adapt by steps.
        val_episodes: of the source, in each setting, to choose the camps' champions by; a third of
            ``episodes`` by default.
        metrics: what to measure beside accuracy, likelihood and calibration, or squared error.
    """

    episodes: Many = Field(600, ge=2)
    queries: Count = 15
    settings: tuple[Setting, ...]
    val_episodes: Many | None = Field(None, ge=2)
    steps: Distinct[Whole] = ()
    metrics: Distinct[CodeName] = ()

    @property
    def champion_episodes(self) -> int:
        """``val_episodes``, or their default."""
        return self.val_episodes or max(2, self.episodes // 3)


class Variant(Strict):
    """A method under another name: on another backbone, or with its cost kept in bounds.

    Attributes:
        method: the registered method.
        backbone: in place of the task type's.
        sources: learn from these alone; empty: all. For learners that use no source, so that the
            same evaluation is not paid for twice.
        skip: where it is not evaluated: labels of settings, ``5w1s``, or ``target/5w1s``.
    """

    method: CodeName
    backbone: BackboneChoice | None = None
    sources: Distinct[str] = ()
    skip: Distinct[str] = ()


class TaskType(Strict):
    """One kind of problem: its sources, extra targets, methods, and the terms they all share.

    ``methods`` lists what is run: registered methods, or names in ``variants``. ``out_of_scope``
    gives a target a dataset whose examples are of none of its classes, for the open-set figure.
    """

    sources: Distinct[CodeName] = ()
    targets: Distinct[CodeName] = ()
    methods: Distinct[CodeName] = ()
    variants: dict[VariantName, Variant] = Field(default_factory=dict)
    out_of_scope: dict[CodeName, CodeName] = Field(default_factory=dict)
    backbone: BackboneChoice = BackboneChoice()
    budget: Budget = Budget()
    training: Training = Training()
    evaluation: Evaluation = Evaluation(settings=())

    def variant(self, name: str) -> Variant:
        """What ``name``, one of ``methods``, stands for."""
        return self.variants.get(name, Variant(method=name))

    def backbone_of(self, name: str) -> BackboneChoice:
        """The backbone of ``name``, one of ``methods``."""
        return self.variant(name).backbone or self.backbone

    @property
    def datasets(self) -> tuple[str, ...]:
        """Sources, then the targets that are no source."""
        return tuple(dict.fromkeys([*self.sources, *self.targets]))

    @property
    def used(self) -> tuple[str, ...]:
        """:attr:`datasets`, then those of the open-set figure."""
        return tuple(dict.fromkeys([*self.datasets, *self.out_of_scope.values()]))

    def evaluations_of(self, name: str) -> Iterator[tuple[str, Setting]]:
        """Every target and setting that ``name``, one of ``methods``, is to be evaluated in."""
        skip = self.variant(name).skip
        for target in self.datasets:
            for setting in self.evaluation.settings:
                wanted = not setting.datasets or target in setting.datasets
                if wanted and not {setting.label, f"{target}/{setting.label}"} & set(skip):
                    yield target, setting


TASK_TYPES = ("classification", "regression", "text", "relations")


class Config(Strict):
    """The whole of ``params.yaml``.

    Attributes:
        profile: name of this set of parameters.
        reports: folder for the generated reports.
        datasets: every dataset that is prepared (those of all task types).
        methods: hyper-parameters by source and method, ``methods.<source>.<method>``; those of the
            pretraining that methods of a source share under the name ``backbone``.
    """

    profile: PlainName
    reports: ReportsFolder = "reports"
    seeds: Annotated[Distinct[Seed], Field(min_length=1)]
    compute: Compute = Compute()
    datasets: Distinct[CodeName]
    classification: TaskType
    regression: TaskType
    text: TaskType = TaskType()
    relations: TaskType = TaskType()
    methods: dict[CodeName, dict[CodeName, dict[str, Any]]]

    def seeds_of(self, source: str, name: str) -> tuple[int, ...]:
        """The seeds of (source, method or variant): none where the variant leaves it out."""
        sources = self.task_type_of(source).variant(name).sources
        return self.seeds if not sources or source in sources else ()

    def settings_of(self, source: str, name: str) -> dict[str, Any]:
        """Hyper-parameters of (source, method or variant), as they are given.

        Raises:
            InputError: there are none.
        """
        try:
            return self.methods[source][name]
        except KeyError as error:
            raise InputError(
                f"params.yaml: methods.{source}.{name} is missing: add it ({{}} for defaults)"
            ) from error

    def task_type_of(self, dataset: str) -> TaskType:
        """The task type in which ``dataset`` is a source or a target.

        Raises:
            InputError: no task type uses it.
        """
        for name in TASK_TYPES:
            task_type: TaskType = getattr(self, name)
            if dataset in task_type.used:
                return task_type
        raise InputError(
            f"params.yaml: dataset '{dataset}' is in no task type's sources or targets"
        )


def disagreements(config: Config) -> Iterator[str]:
    """What does not go together in ``params.yaml``, as far as no code need be known."""
    task_types: dict[str, TaskType] = {label: getattr(config, label) for label in TASK_TYPES}
    for label, task_type in task_types.items():
        used = {f"{label}.{field}": getattr(task_type, field) for field in ("sources", "targets")}
        used |= {
            f"{label}.out_of_scope.{target}": (name,)
            for target, name in task_type.out_of_scope.items()
        }
        for key, names in used.items():
            for name in names:
                if name not in config.datasets:
                    hint = nearest(name, config.datasets)
                    yield f"{key}: {glance(name)} is not in datasets: add it there. {hint}"
        yield from (f"{label}.{problem}" for problem in _disagreements_of(task_type))
        if task_type.sources:
            yield from _wrong_forms(task_type, label)
    if not any(task_type.sources for task_type in task_types.values()):
        yield f"{TASK_TYPES[0]}.sources: must not be empty, for no other task type has sources"
    for name in config.datasets:
        found = [label for label, task_type in task_types.items() if name in task_type.used]
        if len(found) > 1:
            yield f"datasets: '{name}' is used by {' and '.join(found)}; one task type can have it"
        elif not found:
            yield (
                f"datasets: no task type uses '{name}'. Remove it, or make it a source or a target"
            )


def _disagreements_of(task_type: TaskType) -> Iterator[str]:
    """Names of one task type that stand for nothing in it."""
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


def _wrong_forms(task_type: TaskType, label: str) -> Iterator[str]:
    """Settings of episodes that no data could answer, or that are there twice."""
    settings = task_type.evaluation.settings
    for key, found in {"methods": task_type.methods, "evaluation.settings": settings}.items():
        if not found:
            yield f"{label}.{key}: must not be empty, for there are sources"
    ways = {f"evaluation.settings.{i}": setting.ways for i, setting in enumerate(settings)}
    for key, count in {"training": task_type.training.ways, **ways}.items():
        if label == "regression" and count:
            yield f"{label}.{key}.ways: must be 0, for there are no classes (value {count})"
        elif label != "regression" and count < 2:
            yield f"{label}.{key}.ways: must be at least 2 (value {count})"
    asked = Counter(
        (target, s.label) for s in settings for target in s.datasets or task_type.datasets
    )
    twice = dict.fromkeys(form for (_, form), count in asked.items() if count > 1)
    yield from (f"{label}.evaluation.settings: {form} is there twice" for form in twice)


def read(path: Path = Path("params.yaml")) -> Config:
    """Read ``params.yaml`` and validate each value of it, but not what they are together.

    Raises:
        InputError: not YAML, unknown key, wrong type or value.
    """
    return validated(parse(path), str(path))


def validated(values: Any, where: str) -> Config:
    """The content of a ``params.yaml``, each value of it validated.

    Raises:
        InputError: unknown key, wrong type or value.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: must hold a mapping of settings")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain(error, Config, where) from error


def load(path: Path = Path("params.yaml")) -> Config:
    """Read ``params.yaml``; :mod:`metabench.pipeline.validation` checks what needs the code.

    Raises:
        InputError: not YAML, unknown key, wrong type or value, or names that do not agree.
    """
    config = read(path)
    refuse(disagreements(config), str(path))
    return config
