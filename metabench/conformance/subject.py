"""The learner under examination: a method on one kind of data, briefly trained."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from metabench import rng
from metabench.backbones import build_backbone
from metabench.conformance.made_up_data import (
    SHOTS,
    TASKS,
    TRAINING,
    WAYS,
    easy_episodes,
    made_up,
    many_queries,
    permutations,
    source_of,
    with_support,
)
from metabench.data.base import Kind
from metabench.episodes import Episodes
from metabench.learning.pretraining import Pretrain, PretrainSettings
from metabench.learning.training import AnySource, draw
from metabench.methods.base import FeatureMethod, Method, Task

BACKBONES_USED: dict[str, tuple[str, dict[str, Any]]] = {
    "image": ("conv4", {"width": 8}),
    "text": ("text_cnn", {"width": 16, "size": 8, "pieces": 512}),
    "vector": ("mlp", {"widths": (16, 16)}),
    "regression": ("mlp", {"widths": (16, 16)}),
}
"""A small backbone for each kind of data."""

STEPS = 2
"""Training steps of the learner that is examined."""
PREDICTS = "predicts finite values of the right shape"
NO_PREDICTION = f"does not predict, see '{PREDICTS}'"
"""Why another property does not apply to a method that predicts nothing."""
AFTER = (0, 2)
"""Steps after which ``predict_after`` is asked."""
CHUNK = 50
"""Examples that are embedded at once where a whole table of them is."""
TOLERANCE = 1e-6
"""Double precision leaves 1e-15; iterative solvers stop when they are this close."""


class NotApplicable(Exception):
    """The property says nothing about this method; the message says why."""


class NoPrediction(Exception):
    """What a method answers is not finite, of another shape, or no floating point numbers."""


class Subject:
    """A method on one kind of data, with a briefly trained learner.

    Attributes:
        episodes: tasks with their support in random order, and few queries.
        many: tasks with many queries, and with other ways if the method takes them.
    """

    def __init__(self, method: type[Method], kind: Kind):
        self.method = method
        self.kind = kind
        self.source = source_of(kind)
        dataset = None if kind == "regression" else made_up(kind)
        self.shape = (1,) if dataset is None else tuple(dataset.x.shape[1:])
        self.task = (
            Task("regression", 0, 0, 1)
            if dataset is None
            else Task(kind, WAYS, self.source.classes)
        )
        ordered = easy_episodes(kind, TASKS, WAYS, SHOTS)
        rows = permutations("support", tasks=TASKS, size=ordered.support_x.shape[1])
        self.episodes = with_support(ordered, rows)
        self.many = many_queries(kind, WAYS + 2 if method.variable_ways else WAYS)
        self._answers: dict[str, Tensor] = {}

    def build(self, **settings: Any) -> Method:
        """An untrained learner; one that starts from a pretrained backbone gets it."""
        chosen = self.method.Settings(**settings)
        learner = _build(self.method, chosen, self.task, self.shape, self.kind)
        if self.method.start != "random" and not learner.backbone.external_pretraining:
            learner.load_state_dict(_pretrained(self.kind), strict=False)
        return learner

    def train(self, learner: Method, steps: int, first: int = 0) -> None:
        """``steps`` steps of the training loop, without schedule; then statistics of the source."""
        if learner.source_training != "none":
            _descend(learner, self.source, steps, first)
        learner.eval()
        learner.fit_source_statistics(self.source)

    @cached_property
    def trained(self) -> Method:
        """The learner as training leaves it; it is never asked."""
        learner = self.build()
        try:
            self.train(learner, STEPS)
        except Exception as error:
            raise NotApplicable("training fails, see there") from error
        return learner

    def learner(self) -> Method:
        """The trained learner, another one for every question.

        It is opened as evaluation opens one, not copied: a method can tell its copies apart.
        """
        state = self.trained.state_dict()
        learner = self.opened(self.trained.settings)
        try:
            learner.load_state_dict(state)
        except Exception as error:
            raise NotApplicable("its state cannot be loaded, see there") from error
        return learner

    def opened(self, settings: Any) -> Method:
        """A learner for a state to be loaded into, to whose random start it must owe nothing."""
        return _build(self.method, settings, self.task, self.shape, self.kind, seed=99)

    @cached_property
    def doors(self) -> dict[str, Callable[[Method, Episodes], Tensor]]:
        """The ways in which evaluation asks a learner, by the name of what it calls.

        A FeatureMethod that does not write a ``predict`` of its own has one door: the same code
        answers, whether its examples are embedded before or then.
        """
        learner = self.trained
        found: dict[str, Callable[[Method, Episodes], Tensor]] = {"predict": predicted}
        own = getattr(learner.predict, "__func__", None) is not FeatureMethod.predict
        if isinstance(learner, FeatureMethod) and own:
            found["classify"] = classified
        if hasattr(learner, "predict_after"):
            found["predict_after"] = predicted_after
        return found

    def ask(self, door: str, episodes: Episodes) -> Tensor:
        """What the trained learner answers at ``door``."""
        learner = self.learner()
        torch.manual_seed(0)
        return self.doors[door](learner, episodes)

    def answers(self, door: str) -> Tensor:
        """What it answers to :attr:`many`."""
        if door not in self._answers:
            self._answers[door] = self.ask(door, self.many)
        return self._answers[door]

    def predict(self, episodes: Episodes) -> Tensor:
        """What the trained learner predicts."""
        return self.ask("predict", episodes)

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
            return f"predict raises {raised(error, self.method)}"
        return None


def predicted(learner: Method, episodes: Episodes) -> Tensor:
    """What ``learner`` predicts, ``[T, Q, outputs]``.

    Raises:
        NoPrediction: it is of another shape or kind, or not finite.
    """
    return _valid(learner.predict(episodes), episodes)


def classified(learner: Method, episodes: Episodes) -> Tensor:
    """What a FeatureMethod says where all examples were embedded before, as :func:`predicted`."""
    assert isinstance(learner, FeatureMethod)
    with torch.no_grad():
        features = episodes.map(lambda x: embedded(learner, x))
    return _valid(learner.classify(features), episodes)


def embedded(learner: FeatureMethod, x: Tensor) -> Tensor:
    """Features of ``[T, N, ...]`` examples, in one table that is embedded in random order."""
    flat = x.flatten(0, 1)
    order = permutations("table", tasks=1, size=len(flat))[0]
    parts = [learner.embed(flat[rows][None])[0] for rows in order.split(CHUNK)]
    return torch.cat(parts)[order.argsort()].unflatten(0, x.shape[:2])


def predicted_after(learner: Method, episodes: Episodes) -> Tensor:
    """What it predicts after each number of steps, side by side: ``[T, Q, outputs · numbers]``."""
    answers = cast(Any, learner).predict_after(episodes, list(AFTER))
    return torch.cat([_valid(answer, episodes) for answer in answers], dim=2)


def _valid(found: object, episodes: Episodes) -> Tensor:
    what, last = ("predictions", "outputs") if episodes.ways is None else ("logits", "ways")
    outputs = episodes.query_y.shape[2] if episodes.ways is None else episodes.ways
    wanted = [*episodes.query_x.shape[:2], outputs]
    found = found.detach() if isinstance(found, Tensor) else found
    if type(found) is not Tensor:  # a subclass of it answers what it is asked as it likes
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
    return found


def raised(error: Exception, method: type) -> str:
    """Kind and text of an exception, and the last line of the method's own file that led to it."""
    own = inspect.getsourcefile(method)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    place = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
    return f"{type(error).__name__}: {error}{place}"


def _build(
    method: type[Method],
    settings: Any,
    task: Task,
    shape: tuple[int, ...],
    kind: str,
    seed: int = 0,
) -> Method:
    torch.manual_seed(seed)
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


def differ(a: Tensor, b: Tensor) -> bool:
    """Whether two predictions are not the same (nor both undefined)."""
    return not difference(a, b) <= TOLERANCE
