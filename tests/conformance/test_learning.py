"""What cannot be trained, repeated or learned from is caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from metabench.conformance import TRAINS, check, learning
from metabench.conformance.subject import Subject
from metabench.episodes import one_hot, task_loss
from metabench.methods.optimisation.meta_sgd import MetaSGD
from metabench.methods.parts.inner_loop import Head, HeadGradientMethod
from tests.conformance.honest import Honest, assert_caught


class UsesGlobalGenerator(Honest):
    """Dropout in prediction."""

    def classify(self, features):
        return nn.functional.dropout(super().classify(features), 0.5, training=True)


class ExploitsQueryOrder(Honest):
    """Queries come class by class; so would the answers."""

    source_training = "none"

    def classify(self, features):
        q = features.query_x.shape[1]
        answer = torch.arange(q) * features.ways // q
        return one_hot(answer, features.ways, features.query_x).expand(len(features), -1, -1)


class LearnsNothing(Honest):
    """Its loss is a constant."""

    def loss(self, batch, progress):
        return (batch.map(self.backbone).query_x * 0).sum() + 1


class Guesses(Honest):
    """All classes alike."""

    def classify(self, features):
        return 0 * super().classify(features)


class CannotTrain(Honest):
    """Its loss crashes, but prediction would work."""

    def loss(self, batch, progress):
        raise ZeroDivisionError("no loss")


class TrainsAfterwards(Honest):
    """Takes a few more steps, where no example is counted."""

    def fit_source_statistics(self, source):
        x, _ = source.features(self.embed)
        for weight in self.backbone.parameters():
            weight.data += 0.1 * x.mean()


class KeepsTheMean(Honest):
    """The honest twin: a statistic, in a buffer."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.register_buffer("centre", torch.zeros(self.backbone.feature_dim))

    def fit_source_statistics(self, source):
        self.centre.copy_(source.features(self.embed)[0].mean(0))

    def classify(self, features):
        return super().classify(features.map(lambda x: x - self.centre))


class SharedRow(HeadGradientMethod):
    """ANIL as it was here: all classes start from one learned row."""

    family, paper = "optimisation", "made up"
    kinds = frozenset({"vector"})
    order_sensitive = False

    def __init__(self, backbone, task, settings):
        super().__init__(backbone, task, settings)
        self.head = Head(backbone.feature_dim, 1)  # further classes start at the mean: the same row

    def inner_step(self, weights, gradients, step):
        return {name: w - 0.1 * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch, progress):
        batch = self.features(batch)
        adapted = self.adapt(batch, 2, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()


class SharedRowOnFrozenFeatures(SharedRow):
    """There is nothing else to learn."""

    def __init__(self, backbone, task, settings):
        super().__init__(backbone, task, settings)
        backbone.requires_grad_(False)


class SharedRowAndOneStep(MetaSGD):
    """Meta-SGD as it was here: in its only step, no gradient reaches the body."""

    kinds = frozenset({"vector"})

    def __init__(self, backbone, task, settings):
        super().__init__(backbone, replace(task, ways=1), settings)


class SlotsAndOneStep(MetaSGD):
    """The honest twin: rows differ."""

    kinds = frozenset({"vector"})


class BiasBeforeNorm(Honest):
    """A normalisation over examples takes the bias away, and a distance the shift."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        size = self.backbone.feature_dim
        self.layers = nn.Sequential(nn.Linear(size, size), nn.BatchNorm1d(size))

    def embed(self, x):
        features = super().embed(x)
        return self.layers(features.flatten(0, 1)).unflatten(0, features.shape[:2])


class BiasOfNoUse(Honest):
    """A bias that does change answers, but that the loss never sees."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.bias = nn.Parameter(torch.zeros(3))

    def classify(self, features):
        logits = super().classify(features)
        return logits if self.training else logits + self.bias[: features.ways].sum() * logits


@pytest.mark.parametrize(
    ("method", "sentence", "words"),
    [
        (UsesGlobalGenerator, "gives the same result for the same seed", "global generator"),
        (ExploitsQueryOrder, "stays at chance when labels mean nothing", "100%"),
        (TrainsAfterwards, "trains no weights outside of its budget", "whose examples are counted"),
        (LearnsNothing, TRAINS, "no gradient"),
        (Guesses, "learns an easy problem", "33%"),
    ],
)
def test_what_learns_nothing_or_what_it_must_not_is_caught(method, sentence, words) -> None:
    assert_caught(method, sentence, words)


def test_a_statistic_of_the_source_is_no_training() -> None:
    assert [v for v in check(KeepsTheMean) if v.passed is False] == []


def test_rounding_noise_is_no_gradient_to_learn_from() -> None:
    found = learning.trains(Subject(SharedRowOnFrozenFeatures, "vector"))
    assert found is not None
    assert "no gradient" in found


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (SharedRow, "'head.weight'"),
        (SharedRowOnFrozenFeatures, "'head.weight'"),
        (SharedRowAndOneStep, "'alpha.0'"),
        (BiasOfNoUse, "'bias'"),
    ],
)
def test_a_weight_that_cannot_be_learned_is_named(method, name) -> None:
    found = learning.every_weight(Subject(method, "vector"))
    assert found is not None
    assert name in found
    assert "'backbone.layers.0.weight'" not in found


@pytest.mark.parametrize("method", [SlotsAndOneStep, BiasBeforeNorm])
def test_weights_that_learn_and_a_bias_that_changes_no_answer_are_let_be(method) -> None:
    assert learning.every_weight(Subject(method, "vector")) is None


def test_a_method_that_cannot_train_is_told_so_once():
    wrong = [v for v in check(CannotTrain) if v.passed is False]
    assert [v.property for v in wrong] == [TRAINS]
    assert "ZeroDivisionError: no loss" in wrong[0].detail
