"""What a method is told when it is scored, and what is evaluated when adaptation diverges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from metabench.backbones.mlp import MLP
from metabench.data.base import CHARACTERS, ClassInfo, Dataset
from metabench.data.sinusoid import SINUSOID
from metabench.episodes import Episodes, class_means
from metabench.episodes.frozen_episodes import freeze, freeze_tasks
from metabench.files import InputError
from metabench.learning.scoring import EpisodeSet, episode_cost, evaluate
from metabench.methods.base import Diverged, FeatureMethod, Method, Task
from tests.toy import toy_dataset


class Growing(Method):
    """Answers 1e8 to the power of its steps: infinite in single precision after five."""

    family, paper, source_training = "control", "made up", "nothing"
    kinds = frozenset({"regression"})
    own = 1

    def predict(self, episodes: Episodes) -> Tensor:
        return self.predict_after(episodes, [self.own])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        return [torch.full_like(episodes.query_y, 1.0) * 1e8**k for k in steps]


@pytest.fixture
def episodes() -> EpisodeSet:
    assert SINUSOID.family is not None
    frozen = freeze_tasks(SINUSOID.family, "test", 5, 10, 3)
    return EpisodeSet.of(frozen, None, None, torch.device("cpu"))


def learner(own: int) -> Growing:
    made = Growing(MLP((1,), (8,)), Task("regression", 1, 1), Growing.Settings())
    made.own = own
    return made


def test_steps_that_lead_to_no_finite_error_have_no_rows(episodes) -> None:
    found = evaluate(learner(own=1), [episodes], steps=(0, 2, 3, 5, 10))
    assert found.groupby("steps").size().to_dict() == {-1: 3, 0: 3, 2: 3}  # 3: its square is not


def test_a_method_s_own_answer_must_be_finite(episodes) -> None:
    with pytest.raises(Diverged, match="predictions on sinusoid are not finite"):
        evaluate(learner(own=5), [episodes], steps=(0,))
    with pytest.raises(Diverged, match="mse on sinusoid is not finite"):
        evaluate(learner(own=3), [episodes])


class Recording(FeatureMethod):
    """Nearest class mean; keeps what it is asked."""

    family, paper, source_training = "control", "made up", "none"
    kinds = frozenset({"vector"})

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.embedded: list[Tensor] = []
        self.asked: list[Episodes] = []

    def embed(self, x: Tensor) -> Tensor:
        self.embedded.append(x)
        return x

    def classify(self, features: Episodes) -> Tensor:
        self.asked.append(features)
        means = class_means(features.support_x, features.support_y, features.ways)
        return -torch.cdist(features.query_x, means)

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        return [self.predict(episodes) for _ in steps]


def test_no_door_of_a_method_is_told_a_label_and_scores_are_those_of_the_true_ones() -> None:
    draw = np.random.default_rng(0)
    centre = 2 * np.eye(6)[:, None] + draw.normal(size=(6, 9, 6))
    classes = tuple(ClassInfo(str(i), "g", "test") for i in range(6))
    x = centre.reshape(-1, 6).astype(np.float32)
    made = Dataset("made", "vector", x, np.repeat(np.arange(6), 9), classes)
    frozen = freeze(made, "test", 4, 2, 5, 30, "")
    method = Recording(MLP((6,), (8,)), Task("vector", 4, 6), Recording.Settings())
    sets = EpisodeSet.of(frozen, made, None, torch.device("cpu"))
    found = evaluate(method, [sets], steps=(1,))
    episode_cost(method, sets)
    assert len(method.asked) > 2 and not any(asked.query_y.any() for asked in method.asked)
    # the table is not in the order of the dataset, which is class by class
    table = method.embedded[0][0]
    place = [int((made.x == row).all(1).nonzero()[0][0]) for row in table.numpy()]
    assert sorted(place) != place and abs(np.corrcoef(place, np.arange(len(place)))[0, 1]) < 0.3
    expected = [  # by hand, class by class, from the indices of the file
        np.mean(
            [
                np.linalg.norm(x[rows[:, :2]].mean(1) - x[row], axis=1).argmin() == c
                for c in range(4)
                for row in rows[c, 2:]
            ]
        )
        for rows in frozen.indices
    ]
    for steps in (-1, 1):
        assert found[found.steps == steps].value.tolist() == pytest.approx(expected)
    assert 0.4 < np.mean(expected) < 0.95


class Sly(Tensor):
    """Whatever is asked of it is ones."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        found = super().__torch_function__(function, types, args, kwargs or {})
        return torch.ones_like(found) if function is Tensor.gather else found


def test_predictions_that_could_answer_a_metric_themselves_are_refused(episodes) -> None:
    method = learner(own=1)
    honest = method.predict
    assert len(evaluate(method, [episodes])) == 3
    method.predict = lambda asked: honest(asked).as_subclass(Sly)
    with pytest.raises(InputError, match=r"Growing: predictions are Sly.*Return a plain tensor"):
        evaluate(method, [episodes])


def test_an_answer_cannot_be_changed_after_it_was_given(episodes) -> None:
    method = learner(own=0)
    method.eval_tasks = 1
    honest = [float(value) for value in evaluate(method, [episodes])["value"]]
    given: list[Tensor] = []

    def predict(asked: Episodes) -> Tensor:
        for earlier in given:
            earlier.fill_(1e3)
        given.append(torch.ones_like(asked.query_y))
        return given[-1]

    method.predict = predict
    assert evaluate(method, [episodes])["value"].tolist() == honest
    assert len(given) == 3 and float(given[0].mean()) == 1e3


def test_an_episode_is_not_counted_as_often_as_a_method_answers_it(episodes) -> None:
    method = learner(own=0)
    method.predict = lambda asked: torch.ones(5, *asked.query_y.shape)  # the mean would be of 5
    with pytest.raises(InputError, match=r"Growing: predictions on sinusoid are of shape \(5, 3"):
        evaluate(method, [episodes])


def test_episodes_say_what_their_target_declares_and_features_allow_no_augmentation() -> None:
    made = replace(toy_dataset(), augmentation=CHARACTERS)
    sets = EpisodeSet.of(freeze(made, "test", 4, 1, 3, 2, ""), made, None, torch.device("cpu"))
    asked, labels = sets.ask(slice(0, 2))
    assert asked.augmentation == CHARACTERS
    assert asked.to("cpu")[:1].reorder_queries(labels[:1] * 0).augmentation == CHARACTERS
    assert sets.table is not None
    assert sets.ask(slice(0, 2), sets.table.flatten(1).float())[0].augmentation == ()
    assert asked.map(lambda x: x.flatten(2)).augmentation == ()
