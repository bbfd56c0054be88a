"""The training loop: budget, the best validation score, divergence, snapshots."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metabench.config import Budget, Training
from metabench.data.base import CHARACTERS
from metabench.episodes import Episodes
from metabench.episodes.sampling import ArraySource
from metabench.episodes.source import Examples
from metabench.learning.training import Checkpoint, Resumed, Snapshot, State, draw, train
from metabench.methods.base import Diverged, Method, Settings, Task
from tests.toy import toy_dataset


def silent(share: float, text: str) -> None:
    pass


class Line(Method):
    """One weight whose loss is (w - 3)²; records what the loop tells it."""

    family = "control"
    paper = "none"
    Settings = Settings

    def __init__(self, settings: Settings | None = None):
        task = Task("image", 5, 6)
        super().__init__(nn.Identity(), task, settings or Settings(lr=0.5))  # type: ignore[arg-type]
        self.weight = nn.Parameter(torch.zeros(()))
        self.progress: list[float] = []
        self.examples = 0

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        self.progress.append(progress)
        self.examples += batch.examples
        return (self.weight - 3).square()

    def predict(self, episodes: Episodes) -> Tensor:
        return torch.zeros(1)


class Kept:
    """A checkpoint in memory, as a file would have it: the values of that moment."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def save(self, snapshot: Snapshot) -> None:
        self.snapshots.append(copy.deepcopy(snapshot))

    def load(self, restore: Callable[[Snapshot], Resumed]) -> Resumed | None:
        return restore(copy.deepcopy(self.snapshots[-1])) if self.snapshots else None


def run(method: Method, validate=None, checkpoint: Checkpoint | None = None) -> State:
    return train(
        method,
        ArraySource(toy_dataset(), 0, torch.device("cpu")),
        validate or (lambda m: -abs(float(m.weight) - 3)),
        Budget(examples=1000, validations=4, val_episodes=4),
        Training(ways=5, shots=(1,), queries=3),
        silent,
        checkpoint,
    )


def test_the_budget_is_spent_and_not_exceeded_by_a_step() -> None:
    method = Line()
    state = run(method)
    per_step = 4 * 5 * 4  # tasks × ways × (shots + queries)
    assert state.spent == method.examples
    assert 1000 <= state.spent < 1000 + per_step
    assert method.progress[0] == 0 and max(method.progress) < 1
    assert len(state.curve) == 4 and state.curve[-1]["examples"] == state.spent


def test_what_a_method_measures_is_averaged_into_the_curve() -> None:
    class Measured(Line):
        def loss(self, batch: Episodes, progress: float) -> Tensor:
            self.measured = {"count": len(self.progress)}
            return super().loss(batch, progress)

    method = Measured()
    curve = run(method).curve
    assert [*curve[0]] == ["examples", "train_loss", "count", "val"]
    steps = [row["examples"] / 80 for row in curve]  # each of 80 examples
    first = [0, *steps[:-1]]
    expected = [(a + b - 1) / 2 for a, b in zip(first, steps, strict=True)]
    assert [row["count"] for row in curve] == expected


def test_the_best_validation_score_is_kept_and_not_the_last() -> None:
    scores = iter([0.1, 0.9, 0.2, 0.3])
    seen: list[float] = []

    def validate(method: Method) -> float:
        seen.append(float(method.weight))
        return next(scores)

    method = Line()
    state = run(method, validate=validate)
    assert state.best == 0.9
    assert float(method.weight) == seen[1] != seen[3]


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_method() -> None:
    class Bad(Line):
        def loss(self, batch: Episodes, progress: float) -> Tensor:
            return super().loss(batch, progress) * (math.nan if progress > 0.5 else 1.0)

    with pytest.raises(Diverged, match=r"Bad: loss is nan at step \d+ .*learning rates"):
        run(Bad())


def test_weights_whose_adaptation_diverges_are_not_chosen_and_training_goes_on() -> None:
    scores = iter([None, 0.4, None, math.nan])

    def validate(method: Method) -> float:
        score = next(scores)
        if score is None:
            raise Diverged("predictions are not finite")
        return score

    state = run(Line(), validate=validate)
    assert state.best == 0.4 and state.curve[1]["val"] == 0.4
    with pytest.raises(Diverged, match="best validation score is -inf"):
        run(Line(), validate=lambda method: math.nan)


@pytest.mark.parametrize("at", [0, 2])
def test_a_training_that_goes_on_from_a_snapshot_ends_in_the_same_bits(at) -> None:
    kept, whole = Kept(), Line()
    expected = run(whole, checkpoint=kept)
    rest, again = Kept(), Line()
    rest.snapshots = kept.snapshots[: at + 1]
    state = run(again, checkpoint=rest)
    assert 0 < again.examples < whole.examples  # only what was left
    assert torch.equal(again.weight, whole.weight) and state.curve == expected.curve


@pytest.mark.parametrize("learns", ["episodic", "supervised"])
def test_the_setting_of_augmentation_reaches_what_a_method_trains_on(learns, monkeypatch) -> None:
    monkeypatch.setattr(Line, "source_training", learns)
    dataset = dataclasses.replace(toy_dataset(), augmentation=CHARACTERS)
    source = ArraySource(dataset, 0, torch.device("cpu"))
    form = Training(ways=5, shots=(1,), queries=3)
    plain, half, full = (
        draw(Line(Settings(augmentation=strength)), source, form, 0) for strength in (0.0, 0.5, 1.0)
    )
    images = [e.x if isinstance(e, Examples) else e.query_x for e in (plain, half, full)]
    distances = [float((varied - images[0]).abs().mean()) for varied in images]
    assert distances[0] == 0 < distances[1] < distances[2]
