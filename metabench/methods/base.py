"""The protocol of a method: what it is told, what it must give back, what it declares.

A method is a ``torch.nn.Module`` that owns its backbone. It knows nothing of files, DVC or MLflow.
The loop in :mod:`metabench.learning.training` calls ``loss``, and
:mod:`metabench.learning.scoring` calls ``predict``.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import (
    BelowOne,
    Count,
    Distinct,
    Many,
    NonNegative,
    Positive,
    Share,
    Shots,
    Ways,
    Whole,
)
from metabench.config.messages import explain, nearest
from metabench.config.search import Choice, Log, Per, adapts
from metabench.episodes import Episodes, task_loss
from metabench.episodes.source import Source

Family = Literal[
    "optimisation", "metric", "model", "feature", "parameter", "hybrid", "transductive", "control"
]
FAMILIES: tuple[str, ...] = get_args(Family)
RECIPES = 32
"""Pretrainings of which a method may choose (:mod:`metabench.pipeline.pretrainings`)."""


class Diverged(RuntimeError):
    """A loss, score or prediction is not finite; the message names the method and its settings."""


@dataclass(frozen=True)
class Task:
    """What a method may know of the problem before it sees data.

    Attributes:
        kind: ``image``, ``text`` or ``vector`` (classification), or ``regression``.
        ways: classes per training episode (regression: 0).
        classes: number of source training classes (regression: 0).
        outputs: length of a regression target (classification: 0).
    """

    kind: Literal["image", "text", "vector", "regression"]
    ways: int
    classes: int
    outputs: int = 0


LearningRate = Annotated[Positive, Per("optimizer", adamw=Log(3e-4, 2e-2), sgd=Log(1e-2, 0.5))]
Decay = Annotated[
    NonNegative,
    Per(
        "optimizer",
        adamw=Choice(0.0, 0.01, 0.03, 0.1, 0.3),
        sgd=Choice(0.0, 1e-3, 3e-3, 0.01, 0.03),
    ),
]
Tasks = Annotated[Count, Choice(1, 2, 4, 8, 16)]
TrainingWays = Annotated[Ways | None, Choice(None, 10, 20)]
TrainingShots = Annotated[
    Annotated[Distinct[Count], Field(min_length=1)] | None, Choice(None, (1,), (5,), (10,))
]
Queries = Annotated[Count | None, Choice(1, 2, 5, 10, 15)]
Batch = Annotated[Many, Choice(16, 32, 64, 128)]
"""Settings of the outer loop, with where they are searched; a method that has another default
declares ``queries: Queries = 5``."""


class Settings(BaseModel):
    """Hyper-parameters that methods have in common; each extends them.

    Attributes:
        optimizer: of the outer loop: ``adamw``, or ``sgd`` with momentum 0.9, whose learning rates
            are some thirty times as large.
        lr: its peak learning rate, annealed by a cosine to zero.
        weight_decay: decoupled: a step also shrinks all weights by this share of the learning rate.
        tasks: episodes per outer step.
        ways, shots, queries: form of a training episode; ``None`` takes the profile's value.
            ``shots`` is a tuple: one of them is drawn for each outer step.
        batch: examples per step, for methods that learn from plain batches.
        augmentation: strength of the random variants that training sees in place of the examples,
            0 for the examples themselves. Which there are is declared by the source
            (``metabench show DATASET``); :mod:`metabench.data.augmentation` has their ranges.
        clip: largest norm of the gradient; 0 for none.
        pretraining: for methods that start pretrained, the number of the source's recipe: 0 is
            ``settings.<source>.backbone`` in params.yaml, the others are drawn.
        pretraining_share: what the pretraining may spend of the examples, where the method trains
            after it and gets the others.
        by_shots: other values of adaptation settings, by the number of shots they are for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    optimizer: Annotated[Literal["adamw", "sgd"], Choice("adamw", "sgd")] = "adamw"
    lr: LearningRate = 3e-3
    weight_decay: Decay = 0.0
    tasks: Tasks = 4
    ways: TrainingWays = None
    shots: TrainingShots = None
    queries: Queries = None
    batch: Batch = 64
    augmentation: Annotated[Share, Choice(0.0, 0.5, 1.0)] = 0.0
    clip: NonNegative = 10.0
    pretraining: Annotated[Whole, Field(lt=RECIPES), Choice(*range(RECIPES))] = 0
    pretraining_share: Annotated[BelowOne, Field(gt=0), Choice(0.25, 0.5, 0.75)] = 0.5
    by_shots: dict[Shots, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _may_differ_by_shots(self) -> Self:
        may = [name for name, field in type(self).model_fields.items() if adapts(field)]
        for shots, values in self.by_shots.items():
            for name in values:
                if name not in may:
                    raise ValueError(
                        f"by_shots.{shots}.{name}: is not a setting of prediction alone, which may "
                        f"differ by shots. {nearest(name, may)}"
                    )
            try:
                self._with(values)
            except ValidationError as error:
                found = explain(error, type(self), f"by_shots.{shots}")
                raise ValueError(str(found).replace(f"{shots}: ", f"{shots}.")) from error
        return self

    def _with(self, values: Mapping[str, Any]) -> Self:
        return type(self).model_validate(self.model_dump(exclude={"by_shots"}) | dict(values))

    def at(self, shots: int) -> Self:
        """The settings that predict with ``shots`` labelled examples a class.

        What ``by_shots`` says of this number; where it does not have it, of the nearest one on a
        logarithmic scale (of two as near, the smaller).
        """
        if not self.by_shots:
            return self
        near = min(self.by_shots, key=lambda k: (max(k, shots) / max(1, min(k, shots)), k))
        return self._with(self.by_shots[near])


class Method(nn.Module, abc.ABC):
    """One algorithm. Subclasses declare the class attributes and implement ``predict``.

    Attributes:
        family: the method's place in the comparison.
        paper: citation shown in lists and leaderboards.
        source_training: what ``loss`` receives: ``episodic``: episodes; ``supervised``: labelled
            examples; ``none``: no training beyond the shared pretrained backbone, if any.
        start: where the backbone's weights come from: ``random``, or ``pretrained``: supervised
            training on the source, whose outcome all methods share that ask for the same. It has
            the whole budget, or ``pretraining_share`` of it where the method trains after it.
        adapts: what a task changes of the network: weights of the ``backbone``, or at most what
            stands on its features, the ``head``.
        transductive: True only where a query's prediction may depend on other queries.
        kinds: task kinds the method applies to.
        variable_ways: False if the number of classes is fixed by training.
        order_sensitive: True only where a prediction may depend on the order of the support: the
            method reads it as a sequence, or classes take label slots by order of appearance.
        eval_tasks: tasks per call of ``predict`` in evaluation (memory against overhead).
        measured: numbers that ``loss`` leaves of its last call, such as the residual of a solver,
            always by the same names. Their means are columns of the training curve.
    """

    family: ClassVar[Family]
    paper: ClassVar[str]
    source_training: ClassVar[Literal["episodic", "supervised", "none"]] = "episodic"
    start: ClassVar[Literal["random", "pretrained"]] = "random"
    adapts: ClassVar[Literal["backbone", "head"]] = "backbone"
    transductive: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text", "vector"})
    variable_ways: ClassVar[bool] = True
    order_sensitive: ClassVar[bool] = False
    eval_tasks: ClassVar[int] = 10
    Settings: ClassVar[type[Settings]] = Settings

    backbone: Backbone

    def __init__(self, backbone: Backbone, task: Task, settings: Any):
        super().__init__()
        self.backbone = backbone
        self.task = task
        self.settings: Any = settings
        self.measured: dict[str, float] = {}

    @abc.abstractmethod
    def predict(self, episodes: Episodes) -> Tensor:
        """Adapt to each support set, then answer its queries; called in eval mode.

        May enable gradients itself to adapt. Must leave the module as it was, and treat each task
        and (unless transductive) each query by itself. ``query_y`` holds zeros in evaluation, and
        queries come in random order.

        Returns:
            Logits ``[T, Q, ways]`` whose softmax is the predicted distribution; regression:
            values ``[T, Q, D]``.
        """

    @contextmanager
    def adapting(self, shots: int) -> Iterator[None]:
        """Predictions meanwhile are made with the settings for ``shots`` (:meth:`Settings.at`)."""
        given = self.settings
        self.settings = given.at(shots)
        try:
            yield
        finally:
            self.settings = given

    def loss(self, batch: Any, progress: float) -> Tensor:
        """Scalar training loss of a batch (``Episodes`` or :class:`Examples`).

        Args:
            batch: as ``source_training`` says.
            progress: share of the budget spent so far, 0 to 1, for schedules.
        """
        raise NotImplementedError(f"{type(self).__name__} does not train")

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of the shared pretraining: ``backbone.*`` and its ``head.*``.

        By default the backbone, and in regression also the head, whose outputs mean the same.
        """
        own = self.state_dict()
        parts = ("backbone.", "head.") if self.task.kind == "regression" else ("backbone.",)
        self.load_state_dict(
            {n: w for n, w in weights.items() if n in own and n.startswith(parts)}, strict=False
        )

    def fit_source_statistics(self, source: Source) -> None:
        """Called once after training (or at once, if there is none), in eval mode.

        For statistics of the source, such as the mean feature; must be deterministic.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups for the outer optimiser: by default all parameters alike."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]


class FeatureMethod(Method):
    """A method whose prediction sees an example only through its feature vector.

    Then ``predict`` is ``embed`` followed by ``classify``, and evaluation may embed a whole dataset
    once and classify all episodes from the table.
    """

    adapts = "head"

    def embed(self, x: Tensor) -> Tensor:
        """Features ``[T, N, D]`` of examples ``[T, N, ...]``, each by itself in eval mode."""
        return self.backbone(x)

    @abc.abstractmethod
    def classify(self, features: Episodes) -> Tensor:
        """Logits ``[T, Q, ways]`` from episodes whose ``x`` are features ``[T, N, D]``."""

    def predict(self, episodes: Episodes) -> Tensor:
        """Embed, then classify."""
        with torch.no_grad():
            features = episodes.map(self.embed)
        return self.classify(features)

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        """Loss of the queries (episodic training)."""
        return task_loss(self.classify(batch.map(self.embed)), batch.query_y).mean()
