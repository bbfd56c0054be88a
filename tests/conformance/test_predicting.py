"""What is no prediction, or changes the learner that makes it, is caught."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.conformance import check
from metabench.conformance.subject import PREDICTS
from metabench.episodes import class_means
from metabench.methods.base import Method
from tests.conformance.honest import Honest, assert_caught

UNCHANGED = "is left unchanged by predict"


class ForgetsWhatItLearned(Honest):
    """Keeps a statistic of the source outside of the state."""

    centre = 0.0

    def fit_source_statistics(self, source):
        self.centre = source.features(self.backbone)[0].mean(0)

    def classify(self, features):
        f = features.map(lambda x: nn.functional.normalize(x - self.centre, dim=-1))
        return super().classify(f)


class Adapts(Method):
    """Adapts its own weights and leaves them so."""

    family, paper = "parameter", "made up"
    kinds = frozenset({"vector"})

    def __init__(self, backbone, task, settings):
        super().__init__(backbone, task, settings)
        self.steps = nn.Parameter(torch.zeros(()))

    def loss(self, batch, progress):
        f = batch.map(self.backbone)
        logits = -torch.cdist(f.query_x, class_means(f.support_x, f.support_y, f.ways))
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch.query_y.flatten())

    def predict(self, episodes):
        with torch.no_grad():
            self.steps += 1
        f = episodes.map(self.backbone)
        return -torch.cdist(f.query_x, class_means(f.support_x, f.support_y, f.ways))


class LeavesGradients(Adapts):
    """Calls backward in predict."""

    def predict(self, episodes):
        self.loss(episodes, 0.0).backward()
        f = episodes.map(self.backbone)
        return -torch.cdist(f.query_x, class_means(f.support_x, f.support_y, f.ways))


class WritesIntoEpisodes(Honest):
    """Normalises its input in place."""

    def embed(self, x):
        return self.backbone(x)

    def predict(self, episodes):
        episodes.support_x.sub_(1e-3)
        return super().predict(episodes)


class Diverges(Honest):
    """Divides by zero."""

    def classify(self, features):
        return super().classify(features) / 0


class ForgetsClasses(Honest):
    """Answers with probabilities of one class."""

    source_training = "none"

    def classify(self, features):
        return super().classify(features)[..., :1]


class Raises(Honest):
    """Crashes."""

    source_training = "none"

    def classify(self, features):
        raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("method", "sentence", "words"),
    [
        (ForgetsWhatItLearned, "predicts the same after saving and loading", "register_buffer"),
        (Adapts, UNCHANGED, "'steps'"),
        (LeavesGradients, UNCHANGED, "torch.autograd.grad"),
        (WritesIntoEpisodes, UNCHANGED, "support_x"),
        (Diverges, PREDICTS, "not finite"),
        (ForgetsClasses, PREDICTS, "[3, 9, 1]"),
        (Raises, PREDICTS, "KeyError: 'no such thing'"),
    ],
)
def test_what_predicts_badly_or_leaves_traces_is_caught(method, sentence, words) -> None:
    assert_caught(method, sentence, words)


class NotANumber(Honest):
    """A temperature of zero."""

    source_training = "none"

    def classify(self, features):
        return super().classify(features) / 0.0 * 0.0


class Turned(Honest):
    """Classes before queries."""

    source_training = "none"

    def classify(self, features):
        return super().classify(features).mT


class WholeNumbers(Honest):
    """Labels in place of logits."""

    source_training = "none"

    def classify(self, features):
        return super().classify(features).long()


class Fails(Honest):
    """An error of its own."""

    source_training = "none"

    def classify(self, features):
        raise LookupError("no such prototype")


@pytest.mark.case("27")
@pytest.mark.parametrize(
    ("method", "words"),
    [
        (NotANumber, "not finite"),
        (Turned, "logits have shape [3, 3, 9], wanted [3, 9, 3]"),
        (WholeNumbers, "torch.int64"),
        (Fails, "LookupError: no such prototype"),
    ],
)
def test_what_is_no_prediction_is_said_first_and_never_called_a_leak(method, words) -> None:
    verdicts = check(method)
    wrong = [v for v in verdicts if v.passed is False]
    assert [v.property for v in wrong] == [PREDICTS]
    assert words in wrong[0].detail
    spoken = [v.property for v in verdicts if v.passed is not None]
    assert len(spoken) == 3  # with what it declares, and its settings
    assert [v.property for v in verdicts].index(wrong[0].property) == 2
    assert not [v.detail for v in verdicts if "leak" in v.detail]
