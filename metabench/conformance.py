"""Conformance: the properties that every method must have, third-party ones too.

``check`` trains a small learner of a method on made-up data of each kind that the method applies
to, in double precision, and tries to catch it: a query that depends on other queries, a task that
depends on other tasks, query labels that leak, class names that matter, state that is not saved.
A property is a function that gets a :class:`Subject` and returns what is wrong with it, in words.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import load, save
from torch import Tensor

from metabench import rng
from metabench.backbones import build_backbone
from metabench.config import Training
from metabench.data.base import ClassInfo, Dataset, Kind, Partition
from metabench.data.sinusoid import SINUSOID
from metabench.episodes import Episodes
from metabench.episodes.frozen_episodes import freeze, freeze_tasks
from metabench.episodes.sampling import ArraySource, TaskSource
from metabench.files import InputError
from metabench.learning.pretraining import Pretrain, PretrainSettings
from metabench.learning.training import AnySource, draw
from metabench.methods import METHODS
from metabench.methods.base import FAMILIES, FeatureMethod, Method, Settings, Task

KINDS: tuple[Kind, ...] = get_args(Kind)
BACKBONES_USED: dict[str, tuple[str, dict[str, Any]]] = {
    "image": ("conv4", {"width": 8}),
    "text": ("text_cnn", {"width": 16, "size": 8, "pieces": 512}),
    "vector": ("mlp", {"widths": (16, 16)}),
    "regression": ("mlp", {"widths": (16, 16)}),
}
"""A small backbone for each kind of data."""

PARTITIONS_USED: tuple[Partition, ...] = ("train", "test")
WAYS, SHOTS, QUERIES, TASKS = 3, 2, 3, 3
TRAINING = Training(ways=WAYS, shots=(SHOTS,), queries=QUERIES)
STEPS = 2
"""Training steps of the learner that is examined."""
LEARNING_STEPS, LEARNING_TASKS = 600, 8
"""Training steps, of so many episodes, within which an easy problem must be learned."""


@dataclass(frozen=True)
class Verdict:
    """Whether a method has a property, on one kind of data.

    Attributes:
        property: a sentence.
        passed: False if it is broken; ``None`` if it does not apply.
        detail: what is wrong and what to do about it, or why the property does not apply.
    """

    property: str
    kind: Kind
    passed: bool | None
    detail: str = ""


class NotApplicable(Exception):
    """The property says nothing about this method; the message says why."""


class NoPrediction(Exception):
    """What a method answers is not finite, of another shape, or no floating point numbers."""


Property = Callable[["Subject"], str | None]
PROPERTIES: dict[str, Property] = {}
DECLARES = "declares what it is"
SETTINGS = "has settings that are checked and can be stored"
PREDICTS = "predicts finite values of the right shape"
TRAINS = "trains with finite loss and gradients"
STANDS_ALONE = (DECLARES, SETTINGS, PREDICTS, TRAINS)
"""Properties that say something about a method that predicts nothing."""
NO_PREDICTION = f"does not predict, see '{PREDICTS}'"


def property_of_methods(sentence: str) -> Callable[[Property], Property]:
    """Register a function that returns what is wrong, or ``None``."""

    def register(function: Property) -> Property:
        PROPERTIES[sentence] = function
        return function

    return register


# --- made-up data --------------------------------------------------------------------------------


@cache
def _dataset(kind: Kind) -> Dataset:
    """Eight shapes, far apart; each is a training class and, with other noise, a test class.

    So a learner need only tell which shape carries which label in an episode.
    """
    shapes, size = 8, 12
    made = rng.generator("conformance", kind)
    if kind == "vector":
        x = 4 * np.eye(shapes)[None, :, None] + 0.1 * made.normal(size=(2, shapes, size, shapes))
        x = x.astype(np.float32)
    elif kind == "text":  # six of the shape's own words, and two of any
        own = 200 + 20 * np.arange(shapes)[None, :, None, None]
        own = own + made.integers(0, 2, (2, shapes, size, 6))
        x = np.concatenate([own, made.integers(400, 500, (2, shapes, size, 2))], axis=-1)
        x[..., 5:][made.random((2, shapes, size)) < 0.3] = 0  # some are shorter
        x = x.astype(np.int32)
    else:
        templates = made.integers(0, 256, (shapes, 1, 1, 16, 16))
        noise = made.normal(0, 20, (2, shapes, size, 1, 16, 16))
        x = (templates + noise).clip(0, 255).astype(np.uint8)
    classes = tuple(
        ClassInfo(f"{partition}{i}", "made up", partition)
        for partition in PARTITIONS_USED
        for i in range(shapes)
    )
    y = np.repeat(np.arange(2 * shapes), size)
    return Dataset("conformance", kind, x.reshape(-1, *x.shape[3:]), y, classes)


class _Arrays(ArraySource):
    """Training examples in double precision."""

    def gather(self, indices: np.ndarray) -> Tensor:
        """Network inputs of the given rows."""
        x = super().gather(indices)
        return x.double() if x.is_floating_point() else x


class _Tasks(TaskSource):
    """Training tasks in double precision."""

    def _points(self, step: int, tasks: int, points: int) -> tuple[Tensor, Tensor]:
        x, y = super()._points(step, tasks, points)
        return x.double(), y.double()


@cache
def _source(kind: Kind) -> AnySource:
    device = torch.device("cpu")
    if kind == "regression":
        assert SINUSOID.family is not None
        return _Tasks(SINUSOID.family, 0, device)
    return _Arrays(_dataset(kind), 0, device)


@cache
def _episodes(kind: Kind, tasks: int, ways: int, shots: int) -> Episodes:
    """Test episodes in the order in which evaluation gives them: class by class."""
    if kind == "regression":
        assert SINUSOID.family is not None
        frozen, table = freeze_tasks(SINUSOID.family, "test", 6, 5, tasks), None
    else:
        dataset = _dataset(kind)
        frozen = freeze(dataset, "test", ways, shots, QUERIES, tasks, "")
        table = torch.from_numpy(dataset.x)
    e = frozen.episodes(slice(0, tasks), table)
    if table is None:
        e = replace(e, support_y=e.support_y.double(), query_y=e.query_y.double())
    return e.map(lambda x: x.double() if x.is_floating_point() else x)


def take(tensor: Tensor, rows: Tensor) -> Tensor:
    """``tensor[t, rows[t]]`` for every task: ``[T, N, ...]`` by ``[T, M]`` to ``[T, M, ...]``."""
    return tensor[torch.arange(len(rows))[:, None], rows]


def permutations(*name: str | int, tasks: int, size: int) -> Tensor:
    """A random permutation of ``size`` for every task, ``[T, size]``; none is the identity."""
    drawn = torch.rand(tasks, size, generator=rng.torch_generator("conformance", *name)).argsort(1)
    same = (drawn == torch.arange(size)).all(1, keepdim=True)
    return torch.where(same, drawn.roll(1, dims=1), drawn)


def with_support(episodes: Episodes, rows: Tensor) -> Episodes:
    """The episodes with the support rows ``[T, M]``, in that order."""
    return replace(
        episodes,
        support_x=take(episodes.support_x, rows),
        support_y=take(episodes.support_y, rows),
    )


def with_queries(episodes: Episodes, rows: Tensor) -> Episodes:
    """The episodes with the query rows ``[T, M]``, in that order."""
    return replace(
        episodes, query_x=take(episodes.query_x, rows), query_y=take(episodes.query_y, rows)
    )


# --- the learner under examination ----------------------------------------------------------------


class Subject:
    """A method on one kind of data, with a briefly trained learner.

    Attributes:
        episodes: tasks with their support in random order.
    """

    def __init__(self, method: type[Method], kind: Kind):
        self.method = method
        self.kind = kind
        self.source = _source(kind)
        dataset = None if kind == "regression" else _dataset(kind)
        self.shape = (1,) if dataset is None else tuple(dataset.x.shape[1:])
        self.task = (
            Task("regression", 0, 0, 1)
            if dataset is None
            else Task(kind, WAYS, self.source.classes)
        )
        ordered = _episodes(kind, TASKS, WAYS, SHOTS)
        rows = permutations("support", tasks=TASKS, size=ordered.support_x.shape[1])
        self.episodes = with_support(ordered, rows)

    def build(self, **settings: Any) -> Method:
        """An untrained learner; one that starts from a pretrained backbone gets it."""
        chosen = self.method.Settings(**settings)
        learner = _build(self.method, chosen, self.task, self.shape, self.kind)
        if self.method.start != "random":
            learner.load_state_dict(_pretrained(self.kind), strict=False)
        return learner

    def train(self, learner: Method, steps: int, first: int = 0) -> None:
        """``steps`` steps of the training loop, without schedule; then statistics of the source."""
        if learner.source_training != "none":
            _descend(learner, self.source, steps, first)
        learner.eval()
        learner.fit_source_statistics(self.source)

    @cached_property
    def _trained(self) -> Method:
        learner = self.build()
        try:
            self.train(learner, STEPS)
        except Exception as error:
            raise NotApplicable("training fails, see there") from error
        return learner

    def learner(self) -> Method:
        """The trained learner, a copy for every property."""
        return copy.deepcopy(self._trained)

    def predict(self, episodes: Episodes) -> Tensor:
        """What the trained learner predicts."""
        torch.manual_seed(0)
        return predicted(self.learner(), episodes)

    @cached_property
    def prediction(self) -> Tensor:
        """What it predicts for :attr:`episodes`."""
        return self.predict(self.episodes)

    @cached_property
    def untrained(self) -> str | None:
        """What is wrong with what the learner predicts before it is trained, in words."""
        learner = self.build()
        self.train(learner, 0)
        return self._fault(lambda: predicted(learner, self.episodes))

    @cached_property
    def fault(self) -> str | None:
        """What is wrong with what the learner predicts, before or after training."""
        return self.untrained or self._fault(lambda: self.prediction)

    def _fault(self, predict: Callable[[], Tensor]) -> str | None:
        try:
            predict()
        except NotApplicable:  # it cannot be trained
            return None
        except NoPrediction as error:
            return str(error)
        except Exception as error:
            return f"predict raises {_raised(error, self.method)}"
        return None


def predicted(learner: Method, episodes: Episodes) -> Tensor:
    """What ``learner`` predicts, ``[T, Q, outputs]``.

    Raises:
        NoPrediction: it is of another shape or kind, or not finite.
    """
    found: object = learner.predict(episodes)
    what, last = ("predictions", "outputs") if episodes.ways is None else ("logits", "ways")
    outputs = episodes.query_y.shape[2] if episodes.ways is None else episodes.ways
    wanted = [*episodes.query_x.shape[:2], outputs]
    if not isinstance(found, Tensor):
        raise NoPrediction(f"predict gives {type(found).__name__}, wanted a tensor of {what}")
    if list(found.shape) != wanted:
        raise NoPrediction(
            f"{what} have shape {list(found.shape)}, wanted {wanted}: [tasks, queries, {last}]"
        )
    if not found.is_floating_point():
        raise NoPrediction(f"{what} are {found.dtype}, wanted floating point")
    if not found.isfinite().all():
        share = float((~found.isfinite()).double().mean())
        raise NoPrediction(f"{what} are not finite: {share:.0%} are NaN or infinite")
    return found.detach()


def _raised(error: Exception, method: type) -> str:
    """Kind and text of an exception, and the last line of the method's own file that led to it."""
    own = inspect.getsourcefile(method)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    place = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
    return f"{type(error).__name__}: {error}{place}"


def _build(
    method: type[Method], settings: Any, task: Task, shape: tuple[int, ...], kind: str
) -> Method:
    torch.manual_seed(0)
    name, choices = BACKBONES_USED[kind]
    learner = method(build_backbone(name, shape, **choices), task, settings)
    return learner.double().eval()


def _descend(learner: Method, source: AnySource, steps: int, first: int) -> None:
    optimizer = torch.optim.Adam(learner.parameter_groups(), lr=learner.settings.lr)
    learner.train()
    for step in range(first, first + steps):
        torch.manual_seed(rng.seed_of("conformance", step))
        loss = learner.loss(draw(learner, source, TRAINING, step), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@cache
def _pretrained(kind: Kind) -> dict[str, Tensor]:
    """Weights of a backbone that has seen the training classes."""
    subject = Subject(Pretrain, kind)
    learner = _build(Pretrain, PretrainSettings(), subject.task, subject.shape, kind)
    _descend(learner, subject.source, 60, 0)
    keep = ("backbone.", "head.") if kind == "regression" else ("backbone.",)
    return {n: w.detach() for n, w in learner.state_dict().items() if n.startswith(keep)}


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, as a share of the larger tensor's range (at least 1)."""
    if a.shape != b.shape:
        return float("inf")
    scale = max(1.0, float(a.abs().max()), float(b.abs().max()))
    return float((a - b).abs().max()) / scale


TOLERANCE = 1e-6
"""Double precision leaves 1e-15; iterative solvers stop when they are this close."""


def differ(a: Tensor, b: Tensor) -> bool:
    """Whether two predictions are not the same (nor both undefined)."""
    return not difference(a, b) <= TOLERANCE


# --- the properties -------------------------------------------------------------------------------


@property_of_methods(DECLARES)
def _declares(subject: Subject) -> str | None:
    cls = subject.method
    problems = []
    if getattr(cls, "family", None) not in FAMILIES:
        problems.append(f"family is {getattr(cls, 'family', None)!r}, not one of {FAMILIES}")
    if not str(getattr(cls, "paper", "")).strip():
        problems.append("paper is missing: cite one, or say '–'")
    if cls.source_training not in ("episodic", "supervised", "none"):
        problems.append(f"source_training is {cls.source_training!r}: episodic, supervised or none")
    if cls.start not in ("random", "pretrained", "half"):
        problems.append(f"start is {cls.start!r}: random, pretrained or half")
    if not vars(cls)["__doc__"]:
        problems.append("the class has no docstring")
    return "; ".join(problems) or None


@property_of_methods(SETTINGS)
def _settings(subject: Subject) -> str | None:
    model = subject.method.Settings
    if not issubclass(model, Settings):
        return "Settings must extend metabench.methods.base.Settings"
    settings = model()
    if pickle.loads(pickle.dumps(settings)) != settings:
        return "settings change when they are pickled"
    if model.model_validate(settings.model_dump(mode="json")) != settings:
        return "settings change when they are written as JSON and read again"
    try:
        model.model_validate({"no_such_setting": 1})
    except ValidationError:
        return None
    return "an unknown setting is accepted: keep extra='forbid' in model_config"


@property_of_methods(PREDICTS)
def _predicts(subject: Subject) -> str | None:
    if subject.fault is None:
        subject.learner()  # not applicable if it cannot be trained
    return subject.fault


@property_of_methods(TRAINS)
def _trains(subject: Subject) -> str | None:
    if subject.untrained is not None:
        raise NotApplicable(NO_PREDICTION)
    subject.train(subject.build(), STEPS)
    learner = subject.build()
    if learner.source_training == "none":
        raise NotApplicable("does not train")
    learner.train()
    torch.manual_seed(0)
    loss = learner.loss(draw(learner, subject.source, TRAINING, 0), 0.0)
    if loss.dim() != 0 or not loss.isfinite():
        return f"loss must be a finite scalar, it is {loss.detach()}"
    loss.backward()
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    if not all(g.isfinite().all() for g in gradients):
        return "a gradient of the loss is not finite"
    if not any(g.abs().max() > 0 for g in gradients):
        return "the loss has no gradient: nothing would be learned"
    return None


@property_of_methods("gives the same result for the same seed")
def _deterministic(subject: Subject) -> str | None:
    learner, again = subject.learner(), subject.build()
    subject.train(again, STEPS)
    for name, value in learner.state_dict().items():
        if not torch.equal(value, again.state_dict()[name]):
            return f"training twice from one seed gives two values of '{name}'"
    torch.manual_seed(1)
    if differ(predicted(again, subject.episodes), subject.prediction):
        return (
            "predict depends on the state of torch's global generator. Name the draw: "
            "metabench.rng.torch_generator('my method', 'purpose', step)"
        )
    return None


@property_of_methods("is left unchanged by predict")
def _unchanged(subject: Subject) -> str | None:
    learner, episodes = subject.learner(), copy.deepcopy(subject.episodes)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    flags = {name: p.requires_grad for name, p in learner.named_parameters()}
    learner.predict(episodes)
    for name, value in learner.state_dict().items():
        if name not in before or not torch.equal(value, before[name]):
            return f"predict changes '{name}': adapt copies of the weights, not the weights"
    if any(module.training for module in learner.modules()):
        return "predict leaves a module in training mode"
    if flags != {name: p.requires_grad for name, p in learner.named_parameters()}:
        return "predict changes requires_grad of a parameter"
    if any(p.grad is not None for p in learner.parameters()):
        return "predict leaves gradients on parameters: use torch.autograd.grad"
    for name, value in vars(episodes).items():
        if isinstance(value, Tensor) and not torch.equal(value, vars(subject.episodes)[name]):
            return f"predict writes into the episodes' {name}"
    if not torch.is_grad_enabled():
        return "predict leaves gradients switched off"
    return None


@property_of_methods("answers each query by itself")
def _queries_apart(subject: Subject) -> str | None:
    e, found = subject.episodes, subject.prediction
    size = e.query_x.shape[1]
    order = permutations("queries", tasks=len(e), size=size)
    reordered, expected = subject.predict(with_queries(e, order)), take(found, order)
    if differ(reordered, expected):
        if subject.method.transductive:
            return "the order of the queries changes the answers: not even transduction may see it"
        return _told("in another order of the queries", difference(reordered, expected))
    if subject.method.transductive:
        raise NotApplicable("transductive, as declared: queries may inform each other")
    first = torch.zeros(len(e), 1, dtype=torch.long)
    alone = subject.predict(with_queries(e, first))
    if differ(alone, found[:, :1]):
        return _told("when it is asked alone", difference(alone, found[:, :1]))
    # the first query stays, the others become copies of the second one
    others = torch.tensor([[0] + [1] * (size - 1)]).repeat(len(e), 1)
    replaced = subject.predict(with_queries(e, others))[:, :1]
    if differ(replaced, found[:, :1]):
        return _told("when the other queries change", difference(replaced, found[:, :1]))
    return None


def _told(when: str, size: float) -> str:
    return (
        f"leaks between queries: the answer to a query changes by {size:.2g} {when}, but "
        "transductive is False. Declare `transductive = True`, or find what the queries share: "
        "normalisation in training mode, a mean or a distance over all of query_x"
    )


@property_of_methods("answers each task by itself")
def _tasks_apart(subject: Subject) -> str | None:
    e, found = subject.episodes, subject.prediction
    for t in range(len(e)):
        alone = subject.predict(e[t : t + 1])
        if differ(alone, found[t : t + 1]):
            return (
                f"leaks between tasks: task {t} is answered differently (by "
                f"{difference(alone, found[t : t + 1]):.2g}) when it is alone in the batch. "
                "Reduce over examples and features, never over the first axis; a stopping rule "
                "must not depend on the other tasks"
            )
    return None


@property_of_methods("does not care how classes are called")
def _names(subject: Subject) -> str | None:
    e, found = subject.episodes, subject.prediction
    if e.ways is None:
        raise NotApplicable("regression has no classes")
    name = permutations("names", tasks=len(e), size=e.ways)  # new name of each class, [T, ways]
    renamed = replace(e, support_y=name.gather(1, e.support_y), query_y=name.gather(1, e.query_y))
    back = name[:, None].expand_as(found)
    answers = subject.predict(renamed)
    if answers.shape == found.shape:
        answers = answers.gather(2, back)
    if differ(answers, found):
        return (
            "renaming the classes of an episode does not rename the logits (they differ by "
            f"{difference(answers, found):.2g}). A fixed head can memorise names: fill label slots "
            "by Episodes.by_appearance, or start all rows of the head alike"
        )
    return None


@property_of_methods("does not care about the order of the support")
def _order(subject: Subject) -> str | None:
    if subject.method.order_sensitive and subject.kind != "regression":
        raise NotApplicable("order_sensitive, as declared: the order of the support may matter")
    e, found = subject.episodes, subject.prediction
    rows = permutations("order", tasks=len(e), size=e.support_x.shape[1])
    answers = subject.predict(with_support(e, rows))
    if differ(answers, found):
        return (
            f"another order of the support changes the logits by {difference(answers, found):.2g}. "
            "Go by support_y, not by position; if the method reads a sequence, declare "
            "`order_sensitive = True`"
        )
    return None


@property_of_methods("accepts an unbalanced support")
def _unbalanced(subject: Subject) -> str | None:
    ways = subject.episodes.ways
    if ways is None:
        raise NotApplicable("regression has no classes")
    e = _episodes(subject.kind, TASKS, ways, 4)
    # 1, 2, 4 examples of the three classes; another class is the rare one in each task
    keep = [
        [c * 4 + i for c in range(ways) for i in range((1, 2, 4)[(c + t) % 3])]
        for t in range(TASKS)
    ]
    uneven = with_support(e, torch.tensor(keep))
    try:
        subject.predict(uneven)
    except NoPrediction as error:
        return (
            f"with 1, 2 and 4 examples of three classes, {error}. Do not reshape the support to "
            "[ways, shots], go by support_y"
        )
    return None


@property_of_methods("predicts the same after saving and loading")
def _saved(subject: Subject) -> str | None:
    learner, cls = subject.learner(), subject.method
    stored = save({name: value.contiguous() for name, value in learner.state_dict().items()})
    settings = cls.Settings.model_validate(learner.settings.model_dump(mode="json"))
    torch.manual_seed(99)  # a loaded learner must owe nothing to its random start
    name, choices = BACKBONES_USED[subject.kind]
    loaded = cls(build_backbone(name, subject.shape, **choices), subject.task, settings).double()
    loaded.load_state_dict(load(stored))
    loaded.eval()
    answers = predicted(loaded, subject.episodes)
    if differ(answers, subject.prediction):
        return (
            "a saved and loaded learner predicts something else (by "
            f"{difference(answers, subject.prediction):.2g}): keep what training or "
            "`fit_source_statistics` leaves in parameters or register_buffer"
        )
    return None


@property_of_methods("does not read the labels of queries")
def _labels_hidden(subject: Subject) -> str | None:
    e, found = subject.episodes, subject.prediction
    wrong = e.query_y + 7.0 if e.ways is None else (e.query_y + 1) % e.ways
    answers = subject.predict(replace(e, query_y=wrong))
    if differ(answers, found):
        return (
            f"label leak: other query_y change the prediction by {difference(answers, found):.2g}. "
            "predict must not look at query_y"
        )
    return None


@property_of_methods("answers other numbers of ways")
def _ways(subject: Subject) -> str | None:
    if subject.kind == "regression":
        raise NotApplicable("regression has no classes")
    more = _episodes(subject.kind, TASKS, WAYS + 2, SHOTS)
    if not subject.method.variable_ways:
        try:
            subject.predict(more)
        except InputError:
            more = _episodes(subject.kind, TASKS, WAYS - 1, SHOTS)
        else:
            return "variable_ways is False, yet more ways than in training raise no InputError"
    try:
        subject.predict(more)
    except NoPrediction as error:
        return (
            f"{more.ways} ways after training with {WAYS}: {error}. If training fixes the number "
            "of classes, declare `variable_ways = False`"
        )
    return None


@property_of_methods("answers after any list of steps, in its order")
def _after(subject: Subject) -> str | None:
    learner = subject.learner()
    if not hasattr(learner, "predict_after"):
        raise NotApplicable("has no predict_after")
    after = cast(Callable[[Episodes, Sequence[int]], list[Tensor]], learner.predict_after)
    single = {count: after(subject.episodes, [count])[0].detach() for count in (0, 2)}
    several = [answer.detach() for answer in after(subject.episodes, [2, 0, 2])]
    if len(several) != 3:
        return f"predict_after with three numbers of steps gives {len(several)} answers"
    for count, answer in zip((2, 0, 2), several, strict=True):
        if differ(answer, single[count]):
            return f"predict_after(episodes, [2, 0, 2]) gives another answer after {count} steps"
    return None


@property_of_methods("embeds each example by itself")
def _embeds(subject: Subject) -> str | None:
    learner = subject.learner()
    if not isinstance(learner, FeatureMethod):
        raise NotApplicable("is no FeatureMethod")
    x = subject.episodes.query_x
    with torch.no_grad():
        together, alone = learner.embed(x)[:, :1], learner.embed(x[:, :1])
    if differ(together, alone):
        return (
            "the features of an example depend on the others of the call, but evaluation embeds a "
            "dataset once, in chunks. Make it a Method with its own predict"
        )
    return None


def _main_kind(method: type[Method]) -> str | None:
    """The kind on which learning is tried: the cheapest one with classes."""
    return next((kind for kind in ("vector", "image", "text") if kind in method.kinds), None)


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    top = logits == logits.max(-1, keepdim=True).values
    return float((top.gather(-1, labels[..., None])[..., 0] / top.sum(-1)).mean())


@property_of_methods("stays at chance when labels mean nothing")
def _chance(subject: Subject) -> str | None:
    if subject.kind != _main_kind(subject.method):
        raise NotApplicable("tried on one kind of data")
    tasks = 60
    e = _episodes(subject.kind, tasks, WAYS, SHOTS)
    rows = permutations("shuffled", tasks=tasks, size=e.support_y.shape[1])
    shuffled = replace(e, support_y=take(e.support_y, rows))
    found = _accuracy(subject.predict(shuffled), e.query_y)
    # the classes of a task share their fate: about one independent trial for each class
    bound = 1 / WAYS + 5 * (2 / 9 / (WAYS * tasks)) ** 0.5
    if found > bound:
        return (
            f"accuracy {found:.0%} with shuffled support labels, chance is {1 / WAYS:.0%}: the "
            "answer comes from somewhere else, such as the order of the queries"
        )
    return None


@property_of_methods("learns an easy problem")
def _learns(subject: Subject) -> str | None:
    if subject.method.family == "control":
        raise NotApplicable("a control need not learn")
    if subject.kind != _main_kind(subject.method):
        raise NotApplicable("tried on one kind of data")
    subject.learner()  # not applicable if it cannot even train
    learner = subject.build(tasks=LEARNING_TASKS)
    e = _episodes(subject.kind, 40, WAYS, SHOTS)
    done, block, found = 0, LEARNING_STEPS // 12, 0.0
    while done < LEARNING_STEPS and found <= 0.95:
        subject.train(learner, block, first=done)
        done += block
        found = _accuracy(predicted(learner, e), e.query_y)
        if learner.source_training == "none":
            break
    if found <= 0.95:
        return (
            f"accuracy {found:.0%} on well separated classes after {done} training steps, "
            "expected above 95%"
        )
    return None


# --- the judgement --------------------------------------------------------------------------------


def check(method: type[Method] | str, kinds: Sequence[Kind] | None = None) -> list[Verdict]:
    """Examine a method on every kind of data that it declares and that there is data for.

    Args:
        method: the class, a registered name, or ``package.module:Class``.
        kinds: restrict the examination to these.

    Returns:
        A verdict for each property and kind; an exception of the method is a verdict, too.

    Raises:
        InputError: there is no such method, or it is no method at all.
    """
    cls = METHODS.load(method) if isinstance(method, str) else method
    name = method if isinstance(method, str) else cls.__name__
    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise InputError(f"{name} is not a class that extends metabench.methods.base.Method")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise InputError(f"{name} does not implement {missing}")
    unknown = set(cls.kinds) - set(KINDS)
    if unknown or not cls.kinds:
        raise InputError(f"{name}: kinds is {set(cls.kinds)}, allowed are {', '.join(KINDS)}")
    wanted = [k for k in kinds or KINDS if k in cls.kinds and k in BACKBONES_USED]
    verdicts = []
    for kind in wanted:
        subject = Subject(cls, kind)
        for sentence, function in PROPERTIES.items():
            verdicts.append(_judge(sentence, function, subject))
    return verdicts


def _judge(sentence: str, function: Property, subject: Subject) -> Verdict:
    passed: bool | None
    try:
        if sentence not in STANDS_ALONE and subject.fault is not None:
            raise NotApplicable(NO_PREDICTION)
        wrong = function(subject)
        passed, detail = wrong is None, wrong or ""
    except NotApplicable as reason:
        passed, detail = None, str(reason)
    except NoPrediction as error:
        passed, detail = False, f"in this case, {error}"
    except Exception as error:
        passed, detail = False, f"raises {_raised(error, subject.method)}"
    finally:
        torch.set_grad_enabled(True)
    return Verdict(sentence, subject.kind, passed, detail)
