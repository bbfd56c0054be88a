"""What cannot be trained, repeated or learned from is caught."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.conformance import TRAINS, check
from metabench.episodes import one_hot
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


def test_a_method_that_cannot_train_is_told_so_once():
    wrong = [v for v in check(CannotTrain) if v.passed is False]
    assert [v.property for v in wrong] == [TRAINS]
    assert "ZeroDivisionError: no loss" in wrong[0].detail
