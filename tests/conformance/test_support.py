"""What takes class names, order, balance or ways for granted is caught."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.episodes import class_means
from tests.conformance.honest import Honest, assert_caught, assert_named_and_no_fault

ORDER = "does not care about the order of the support"


class KnowsNames(Honest):
    """A fixed head memorises what classes are called."""

    def classify(self, features):
        return super().classify(features) + torch.arange(features.ways)


class GoesByPosition(Honest):
    """Weighs the support by position."""

    def classify(self, features):
        weight = torch.linspace(0.5, 1.5, features.support_x.shape[1])[None, :, None]
        means = class_means(features.support_x * weight, features.support_y, features.ways)
        return -(torch.cdist(features.query_x, means) ** 2)


class SaysItIsOrdered(GoesByPosition):
    """The same, declared."""

    order_sensitive = True


class AssumesBalance(Honest):
    """Reshapes the support to classes by shots."""

    def classify(self, features):
        x = features.support_x[torch.arange(len(features))[:, None], features.support_y.argsort(1)]
        means = x.unflatten(1, (features.ways, -1)).mean(2)
        return -(torch.cdist(features.query_x, means) ** 2)


class FixedWays(Honest):
    """Has a constant for each class of training, and does not say so."""

    def __init__(self, backbone, task, settings):
        super().__init__(backbone, task, settings)
        self.bias = nn.Parameter(torch.zeros(task.ways))

    def classify(self, features):
        return super().classify(features) + self.bias.mean() * torch.zeros(len(self.bias))


@pytest.mark.parametrize(
    ("method", "sentence", "words"),
    [
        (KnowsNames, "does not care how classes are called", "memorise names"),
        (GoesByPosition, ORDER, "order_sensitive = True"),
        (AssumesBalance, "accepts an unbalanced support", ""),
        (FixedWays, "answers other numbers of ways", ""),
    ],
)
def test_what_holds_for_some_supports_only_is_caught(method, sentence, words) -> None:
    assert_caught(method, sentence, words)


def test_an_order_that_is_declared_is_named_and_is_no_fault() -> None:
    assert_named_and_no_fault(SaysItIsOrdered, ORDER, "order_sensitive, as declared")
