"""``params.yaml`` as typed, validated settings."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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

    workers: int = Field(2, ge=1)
    threads: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class BackboneChoice(Strict):
    """A registered backbone and its settings."""

    name: str = "conv4"
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

    examples: int = Field(60_000, ge=1)
    validations: int = Field(8, ge=1)
    val_episodes: int = Field(60, ge=2)


class Training(Strict):
    """Form of a training episode; one of ``shots`` is drawn for each step."""

    ways: int = Field(5, ge=0)
    shots: tuple[int, ...] = (1, 5)
    queries: int = Field(15, ge=1)


class Setting(Strict):
    """A form of evaluation episode: ``ways`` (0 for regression) and ``shots``.

    ``datasets`` restricts the setting to these targets; empty: all.
    """

    ways: int = Field(5, ge=0)
    shots: int = Field(ge=1)
    datasets: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``5w1s``, or ``10s`` for regression."""
        return f"{self.ways}w{self.shots}s" if self.ways else f"{self.shots}s"


class Evaluation(Strict):
    """Frozen episodes: how many, with how many queries (per class), in which settings.

    Attributes:
        steps: also record the error after these numbers of adaptation steps, for methods that
            adapt by steps.
    """

    episodes: int = Field(600, ge=2)
    queries: int = Field(15, ge=1)
    settings: tuple[Setting, ...]
    steps: tuple[int, ...] = ()


class Variant(Strict):
    """A method under another name: on another backbone, or with its cost kept in bounds.

    Attributes:
        method: the registered method.
        backbone: in place of the track's.
        sources: learn from these alone; empty: all. For learners that use no source, so that the
            same evaluation is not paid for twice.
        skip: where it is not evaluated: labels of settings, ``5w1s``, or ``target/5w1s``.
    """

    method: str
    backbone: BackboneChoice | None = None
    sources: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


class Track(Strict):
    """One kind of problem: its sources, extra targets, methods, and the terms they all share.

    ``methods`` lists what is run: registered methods, or names in ``variants``. ``outside`` gives a
    target a dataset whose examples are of none of its classes, for the open-set figure.
    """

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    variants: dict[str, Variant] = Field(default_factory=dict)
    outside: dict[str, str] = Field(default_factory=dict)
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


TRACKS = ("classification", "regression", "text", "relations")


class Config(Strict):
    """The whole of ``params.yaml``.

    Attributes:
        profile: name of this set of parameters.
        reports: folder for the generated reports.
        datasets: every dataset that is prepared (those of all tracks).
        methods: hyper-parameters by source and method, ``methods.<source>.<method>``; those of the
            pretraining that methods of a source share under the name ``backbone``.
    """

    profile: str
    reports: str = "reports"
    seeds: tuple[int, ...] = Field(min_length=1)
    compute: Compute = Compute()
    datasets: tuple[str, ...]
    classification: Track
    regression: Track
    text: Track = Track()
    relations: Track = Track()
    methods: dict[str, dict[str, dict[str, Any]]]

    @model_validator(mode="after")
    def _names_agree(self) -> Config:
        for field in ("seeds", "datasets"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field}: {list(values)} names something twice")
        for name in TRACKS:
            track: Track = getattr(self, name)
            used = (*track.datasets, *track.outside.values())
            missing = [d for d in used if d not in self.datasets]
            if missing:
                raise ValueError(f"{name} uses dataset '{missing[0]}': add it to `datasets`")
            unused = set(track.variants) - set(track.methods)
            if unused:
                raise ValueError(f"{name}.variants: '{min(unused)}' is not in {name}.methods")
            for source in track.sources:
                for method in track.methods:
                    if method not in self.methods.get(source, {}):
                        raise ValueError(
                            f"methods.{source}.{method} is missing: add it ({{}} for defaults)"
                        )
        return self

    def seeds_of(self, source: str, name: str) -> tuple[int, ...]:
        """The seeds of (source, method or variant): none where the variant leaves it out."""
        sources = self.track_of(source).variant(name).sources
        return self.seeds if not sources or source in sources else ()

    def track_of(self, dataset: str) -> Track:
        """The track in which ``dataset`` is a source or a target.

        Raises:
            InputError: no track uses it.
        """
        for name in TRACKS:
            track: Track = getattr(self, name)
            if dataset in track.datasets or dataset in track.outside.values():
                return track
        raise InputError(f"params.yaml: dataset '{dataset}' is in no track's sources or targets")


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names that are valid at ``location`` (best effort, for suggestions)."""
    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        inner = field.annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        found = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def explain(error: ValidationError, model: type[BaseModel], where: str) -> InputError:
    """Turn pydantic's report into one line a problem: key, value, nearest valid names."""
    lines = []
    for problem in error.errors():
        location = problem["loc"]
        key = ".".join(str(part) for part in location)
        if problem["type"] == "extra_forbidden":
            valid = _fields_at(model, location)
            near = difflib.get_close_matches(str(location[-1]), valid, n=3, cutoff=0.4) or valid
            lines.append(
                f"{key}: unknown key (value {problem['input']!r}). Valid here: {', '.join(near)}."
            )
        elif problem["type"] == "value_error":
            lines.append(f"{key + ': ' if key else ''}{problem['ctx']['error']}")
        else:
            lines.append(f"{key}: {problem['msg']} (value {problem['input']!r})")
    return InputError("\n".join(f"{where}: {line}" for line in lines))


def load(path: Path = Path("params.yaml")) -> Config:
    """Read and validate the structure of ``params.yaml``.

    Raises:
        InputError: not YAML, unknown key, wrong type or names that do not agree.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing. Copy one of profiles/*.yaml to it.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: must hold a mapping of settings")
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise explain(error, Config, str(path)) from error
