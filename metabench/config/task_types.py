"""Sections of ``params.yaml``: what one task type asks for. Defaults are those of its kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from metabench.config.bounds import Count, Distinct, Examples, Many, OneOrMore, Share, Ways, Whole
from metabench.config.names import CodeName, VariantName


class Strict(BaseModel):
    """Unknown keys are errors; values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackboneChoice(Strict):
    """A registered backbone and its settings."""

    name: CodeName
    settings: dict[str, Any] = Field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, json.dumps(self.settings, sort_keys=True, default=str)))

    @property
    def label(self) -> str:
        """Short name for tables, such as ``conv4-32``."""
        given = [self.settings[k] for k in ("width", "widths", "resolution") if k in self.settings]
        widths = given[0] if given else ""
        text = "-".join(map(str, widths)) if isinstance(widths, list | tuple) else str(widths)
        return f"{self.name}-{text}" if text else self.name


@dataclass(frozen=True, order=True)
class Level:
    """What one learner may spend.

    Attributes:
        examples: source examples processed, repeats counted.
        classes: the share of the source's training classes that they are of.
    """

    examples: int
    classes: float = 1.0

    def __str__(self) -> str:
        share = "" if self.classes == 1 else f"-{self.classes:g}-classes"
        return f"{self.examples}-examples{share}"


def main_level(levels: Sequence[Level]) -> Level:
    """The level at which settings are tuned, and of a report's first tables.

    It has the most classes, and of the numbers of examples with those the middle one (the lower of
    two).
    """
    most = max(level.classes for level in levels)
    full = sorted(level for level in levels if level.classes == most)
    return full[(len(full) - 1) // 2]


class Budget(Strict):
    """What every method may spend on a source.

    Attributes:
        examples: source examples processed, repeats counted (pretraining and meta-training alike);
            of several numbers each has learners of its own.
        source_classes: share of the source's training classes that learners may see, or several.
        validations: times the learner is scored on ``val`` episodes; the best score is kept.
        val_episodes: episodes of one such score, per number of training shots.
    """

    examples: OneOrMore[Examples] = (60_000,)
    source_classes: OneOrMore[Annotated[Share, Field(gt=0)]] = (1.0,)
    validations: Count = 8
    val_episodes: Many = Field(60, ge=2)

    @property
    def level(self) -> Level:
        """The main level."""
        most = max(self.source_classes)
        return main_level([Level(examples, most) for examples in self.examples])

    @property
    def levels(self) -> tuple[Level, ...]:
        """All numbers of examples with the most classes, and all shares at the main level's number.

        Not all pairs: each axis is varied by itself.
        """
        main = self.level
        found = {Level(examples, main.classes) for examples in self.examples}
        found |= {Level(main.examples, share) for share in self.source_classes}
        return tuple(sorted(found))

    def at(self, level: Level) -> Budget:
        """The budget of the learners of one level."""
        only = {"examples": (level.examples,), "source_classes": (level.classes,)}
        return self.model_copy(update=only)

    def split(self, share: float) -> tuple[Budget, Budget]:
        """The budgets of a pretraining with ``share`` of the examples, and of what trains after it.

        Each has its share of the validations, and one at least.
        """
        whole = self.level.examples
        examples = min(max(1, round(share * whole)), whole - 1)
        validations = max(1, int(share * self.validations))
        rest = max(1, self.validations - validations)
        return (
            self.model_copy(update={"examples": (examples,), "validations": validations}),
            self.model_copy(update={"examples": (whole - examples,), "validations": rest}),
        )


class Training(Strict):
    """Form of a training episode; one of ``shots`` is drawn for each step."""

    ways: Ways = 5
    shots: Distinct[Count] = (1, 5)
    queries: Count = 15


def setting_label(ways: int, shots: int) -> str:
    """``5w1s``, or ``10s`` for regression, where ``ways`` is 0."""
    return f"{ways}w{shots}s" if ways else f"{shots}s"


class Setting(Strict):
    """A form of evaluation episode: ``ways`` (0 for regression) and ``shots``.

    ``datasets`` restricts the setting to these targets; empty: all.
    """

    ways: Ways = 5
    shots: Count
    datasets: Distinct[str] = ()

    @property
    def label(self) -> str:
        """``5w1s``, or ``10s`` for regression."""
        return setting_label(self.ways, self.shots)


class Evaluation(Strict):
    """Frozen episodes: how many, with how many queries (per class), in which settings.

    Attributes:
        steps: also record the error after these numbers of adaptation steps, for methods that
            adapt by steps.
        val_episodes: of the source, in each setting, to choose the camps' champions by; a third of
            ``episodes`` by default.
        metrics: what to measure beside accuracy, likelihood and calibration, or squared error.
        selection: also record scores with adaptation settings that are chosen otherwise: by
            cross-validation on each support, or by the test episodes themselves (an oracle).
        candidates: settings among which these rules choose, a learner's own included.
    """

    episodes: Many = Field(600, ge=2)
    queries: Count = 15
    settings: Annotated[tuple[Setting, ...], Field(min_length=1)] = (
        Setting(shots=1),
        Setting(shots=5),
    )
    val_episodes: Many | None = Field(None, ge=2)
    steps: Distinct[Whole] = ()
    metrics: Distinct[CodeName] = ()
    selection: Distinct[Literal["support", "oracle"]] = ()
    candidates: Count = Field(8, ge=2)

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

    Attributes:
        sources: datasets to learn from; each is a target too.
        targets: further datasets, to be tested on alone.
        methods: what is run: registered methods, or names in ``variants``.
        variants: methods under other names.
        out_of_scope: for a target a dataset whose examples are of none of its classes, for the
            open-set figure.
    """

    sources: Annotated[Distinct[CodeName], Field(min_length=1)]
    targets: Distinct[CodeName] = ()
    methods: Annotated[Distinct[CodeName], Field(min_length=1)]
    variants: dict[VariantName, Variant] = Field(default_factory=dict)
    out_of_scope: dict[CodeName, CodeName] = Field(default_factory=dict)
    backbone: BackboneChoice = BackboneChoice(name="conv4")
    budget: Budget = Budget()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

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


class Texts(TaskType):
    """A task type of texts: classes as in the others, another backbone."""

    backbone: BackboneChoice = BackboneChoice(name="text_cnn")


class RegressionTraining(Training):
    """A training episode without classes: ``shots`` and ``queries`` are points."""

    ways: Literal[0] = 0
    shots: Distinct[Count] = (5, 10)
    queries: Count = 10


class RegressionSetting(Setting):
    """A form of evaluation episode without classes."""

    ways: Literal[0] = 0


class RegressionEvaluation(Evaluation):
    """Frozen episodes of regression."""

    queries: Count = 100
    settings: Annotated[tuple[RegressionSetting, ...], Field(min_length=1)] = (
        RegressionSetting(shots=5),
        RegressionSetting(shots=10),
    )


class Regression(TaskType):
    """The task type without classes."""

    backbone: BackboneChoice = BackboneChoice(name="mlp")
    training: RegressionTraining = RegressionTraining()
    evaluation: RegressionEvaluation = RegressionEvaluation()
