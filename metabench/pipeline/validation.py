"""Validation of ``params.yaml`` against the code: names of things, and their hyper-parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from metabench.backbones import BACKBONES
from metabench.config import BackboneChoice, Config, TaskType, disagreements
from metabench.config.messages import MOST_PROBLEMS, explain, refusal
from metabench.config.names import BACKBONE, of_reports
from metabench.data import DATASETS
from metabench.data.builders import builder_of, own_data
from metabench.files import InputError
from metabench.learning.metrics import classification, measure, regression
from metabench.learning.pretraining import Pretrain
from metabench.methods import METHODS
from metabench.methods.base import Method, Settings
from metabench.methods.searching import idle
from metabench.pipeline.results import CONTRACT
from metabench.runtime import pick_device

T = TypeVar("T")


class Problems(list[str]):
    """What is wrong so far, a line each; ``where`` all of it is."""

    where = "params.yaml"

    def attempt(self, check: Callable[..., T], *arguments: Any, key: str = "") -> T | None:
        """What ``check`` returns; None where it refuses, which is added (after ``key``).

        Raises:
            InputError: there are more problems now than are listed.
        """
        try:
            return check(*arguments)
        except InputError as error:
            lines = [line.removeprefix("params.yaml: ") for line in str(error).splitlines()]
            self += [f"{key}: {line}" if key else line for line in lines]
            self.end_search(MOST_PROBLEMS)
            return None

    def end_search(self, most: int = 0) -> None:
        """Go on only with as many problems as ``most``.

        Raises:
            InputError: there are more.
        """
        if len(self) > most:
            raise refusal(self, self.where)


def validate_names(config: Config, root: Path | None = None, where: str = "params.yaml") -> None:
    """Validate what takes more than a look at each value: names, and what they stand for.

    Args:
        root: folder of the project; None leaves out what is looked for there.
        where: what holds the parameters, for the message.

    Raises:
        InputError: naming key, value and the nearest valid names of every problem.
    """
    problems = Problems(islice(disagreements(config), MOST_PROBLEMS))
    problems.where = where
    problems.attempt(pick_device, config.compute.device)
    if root is not None:
        problems.attempt(check_reports, config.reports, root)
    _check_own_data(problems, config, root)
    kinds: dict[str, str] = {}
    for label, task_type in config.task_types.items():
        kinds |= _kinds_of_datasets(problems, config, task_type, label)
        _check_metrics(problems, task_type, label)
        for name in task_type.methods:
            _check_learner(problems, config, label, name, kinds)
    for source, methods in config.settings.items():
        _check_settings(problems, config, source, methods)
    problems.end_search()


def check_reports(folder: str, root: Path) -> None:
    """Look where ``folder`` leads in the project at ``root``, links followed.

    Raises:
        InputError: out of the project, to a file, or to what is there for something else.
    """
    try:
        path = (root / folder).resolve()
        if not path.is_relative_to(root.resolve()):
            raise ValueError(f"'{folder}' leads out of the project")
        if any(p.exists() and not p.is_dir() for p in (path, *path.parents)):
            raise ValueError(f"'{folder}' is a file, or below one")
        of_reports(path.relative_to(root.resolve()).as_posix())
    except (ValueError, OSError, RuntimeError) as error:  # the last: links in a circle
        raise InputError(f"reports: {error}") from error


def _check_own_data(problems: Problems, config: Config, root: Path | None) -> None:
    """Names of own datasets are free, and the files of those that are used are there."""
    for name, entry in config.datasets.items():
        if name in DATASETS.names():
            problems.append(
                f"datasets.{name}: is the name of a registered dataset. Take another name"
            )
        elif root is not None and name in config.used:
            problems.attempt(own_data().files_of, name, entry, root)


def _kinds_of_datasets(
    problems: Problems, config: Config, task_type: TaskType, label: str
) -> dict[str, str]:
    """The kinds of a task type's datasets, which are one: the task type's."""
    places = {
        "sources": task_type.sources,
        "targets": task_type.targets,
        "out_of_scope": task_type.out_of_scope.values(),
    }
    kinds: dict[str, str] = {
        name: builder.kind
        for field, names in places.items()
        for name in names
        if (builder := problems.attempt(builder_of, config, name, key=f"{label}.{field}"))
    }
    for name, kind in kinds.items():
        first = next(iter(kinds.values()))
        if (kind == "regression") != (label == "regression"):
            problems.append(f"{label}: '{name}' is {kind} data, which is of another task type")
        elif kind != first:
            problems.append(f"{label}: '{name}' is {kind} data, but others are {first} data")
    return kinds


def _check_metrics(problems: Problems, task_type: TaskType, label: str) -> None:
    """The metrics measure made-up answers, and no number has the name of a result's column."""
    always = (regression if label == "regression" else classification).ALWAYS
    outputs = torch.arange(24.0).reshape(2, 4, 3)  # two episodes, four queries, three classes
    truth = outputs.flip(0) if label == "regression" else torch.tensor([[0, 1, 2, 0]] * 2)
    key, names = f"{label}.evaluation.metrics", task_type.evaluation.metrics
    found = problems.attempt(measure, always, names, outputs, truth, key=key) or {}
    own = found.keys() - measure(always, (), outputs, truth).keys()
    for column in sorted(own & set(CONTRACT)):
        problems.append(f"{key}: a metric returns '{column}', a column of every result. Rename it")


def _check_learner(
    problems: Problems, config: Config, label: str, name: str, kinds: dict[str, str]
) -> None:
    """A method or variant is there, and can do what its task type asks of it."""
    task_type = config.task_types[label]
    variant, choice = task_type.variant(name), task_type.backbone_of(name)
    key = f"{label}.variants.{name}" if name in task_type.variants else f"{label}.methods"
    own = f"{key if variant.backbone else label}.backbone"
    if name != variant.method and name in METHODS.names():
        problems.append(
            f"{key}: '{name}' is a registered method, not {variant.method}. Take another name"
        )
    method = problems.attempt(METHODS.load, variant.method, key=key)
    backbone = problems.attempt(BACKBONES.load, choice.name, key=f"{own}.name")
    if backbone is not None:
        problems.attempt(validate_backbone, choice, f"{own}.settings")
    if method is None or backbone is None:
        return
    wanted = {kinds[source] for source in task_type.sources if source in kinds}
    for what, able in ((name, method.kinds), (choice.name, backbone.kinds)):
        if not wanted <= able:
            missing = ", ".join(sorted(wanted - able))
            problems.append(f"{label}: '{what}' does not apply to {missing} data")
    shared = starts_shared(method, choice)
    if shared and choice != task_type.backbone:
        problems.append(
            f"{key}: {variant.method} starts from the source's pretrained backbone, which is "
            f"{task_type.backbone.label}, not {choice.label}. Leave the variant's backbone out"
        )
    for source in task_type.sources:
        for setting, reason in idle(method, backbone).items():
            if setting in config.settings_of(source, name):
                problems.append(_without_effect(f"settings.{source}.{name}", setting, reason))
    if (shared or method.source_training != "none") and not task_type.training.shots:
        problems.append(f"{label}.training.shots: must not be empty, for {name} is trained")
    if not method.variable_ways:
        _check_outputs(problems, config, label, name)
    if not any(
        method.variable_ways or s.ways == task_type.training.ways
        for _, s in task_type.evaluations_of(name)
    ):
        problems.append(
            f"{key}: '{name}' answers no setting: each is skipped or not of its datasets, or is of "
            f"other ways than training, if it has a fixed number of outputs"
        )


def _check_outputs(problems: Problems, config: Config, label: str, name: str) -> None:
    """A method with a fixed number of outputs trains on episodes that use all of them."""
    task_type = config.task_types[label]
    for source in task_type.sources:
        ways = config.settings_of(source, name).get("ways")
        if isinstance(ways, int) and ways != task_type.training.ways:
            problems.append(
                f"settings.{source}.{name}.ways: must be {task_type.training.ways}, which is "
                f"{label}.training.ways and the number of outputs of {name}, for all of them are "
                f"trained and answer in the evaluation (value {ways}). Leave it out"
            )


def _check_settings(
    problems: Problems, config: Config, source: str, methods: dict[str, dict[str, Any]]
) -> None:
    """All hyper-parameters under a source, also of methods that are not run at present."""
    task_types = list(config.task_types.values())
    if not any(source in task_type.sources for task_type in task_types):
        problems.attempt(builder_of, config, source, key=f"settings.{source}")
    task_types.sort(key=lambda task_type: source not in task_type.sources)  # its own first
    for name, values in methods.items():
        where = f"settings.{source}.{name}"
        stands_for = (t.variants[name].method for t in task_types if name in t.variants)
        method = next(stands_for, name)
        if cls := problems.attempt(learner_class, method, key=where):
            problems.attempt(method_settings, method, values, where)
            for setting, reason in idle(cls).items():
                if setting in values:
                    problems.append(_without_effect(where, setting, reason))


def _without_effect(where: str, setting: str, reason: str) -> str:
    return f"{where}.{setting}: has no effect on it, for {reason}. Leave it out"


def starts_shared(method: type[Method], backbone: BackboneChoice) -> bool:
    """Whether the method starts from the source's shared pretrained backbone.

    A backbone that was pretrained elsewhere needs no pretraining here.
    """
    return method.start != "random" and not BACKBONES.load(backbone.name).external_pretraining


def validate_backbone(choice: BackboneChoice, where: str) -> dict[str, Any]:
    """Validate a backbone's name, and its settings against the signature of its constructor.

    Values go to the constructor as they are, so ``"64"`` is no number here.

    Returns:
        What the settings say beyond the constructor's defaults, however they are written.

    Raises:
        InputError: unknown backbone, unknown or missing setting, or wrong type.
    """
    constructor = BACKBONES.load(choice.name).__init__
    hints = get_type_hints(constructor, include_extras=True)
    _, _, *parameters = inspect.signature(constructor).parameters.values()  # self, input_shape
    variadic = inspect.Parameter.VAR_KEYWORD
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is not variadic
    }
    extra = "allow" if any(p.kind is variadic for p in parameters) else "forbid"
    config = ConfigDict(extra=extra, strict=True, protected_namespaces=())  # type: ignore[typeddict-item]
    model: type[BaseModel] = create_model(f"{choice.name}.settings", __config__=config, **fields)
    try:
        return model.model_validate(choice.settings).model_dump(exclude_defaults=True)
    except ValidationError as error:
        raise explain(error, model, where) from error


def learner_class(name: str) -> type[Method]:
    """The registered method ``name``, or the pretraining (``backbone``)."""
    return Pretrain if name == BACKBONE else METHODS.load(name)


def method_settings(name: str, values: dict[str, Any], where: str) -> Any:
    """The validated hyper-parameters of method ``name``, or of the pretraining (``backbone``).

    Raises:
        InputError: unknown method, settings that lack those of training, unknown key, wrong value.
    """
    model = learner_class(name).Settings
    if not issubclass(model, Settings):
        raise InputError(f"{name}: Settings does not extend metabench.methods.base.Settings")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model, where) from error


def learner_settings(config: Config, source: str, name: str) -> Any:
    """The validated ``settings.<source>.<name>`` of a method, a variant or the pretraining.

    Raises:
        InputError: as :func:`method_settings`.
    """
    method = config.task_type_of(source).variant(name).method
    given = config.settings_of(source, name)
    return method_settings(method, given, f"params.yaml: settings.{source}.{name}")
