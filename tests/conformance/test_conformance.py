"""Every registered method conforms, and the suite catches those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.conformance import PROPERTIES, check
from metabench.episodes import class_means, one_hot
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.base import FeatureMethod, Method


@pytest.mark.parametrize("name", METHODS.names())
def test_every_registered_method_conforms(name):
    verdicts = check(name)
    assert len(verdicts) >= len(PROPERTIES)
    broken = [f"{v.kind}: {v.property}: {v.detail}" for v in verdicts if v.passed is False]
    assert not broken, "\n".join(broken)


class Honest(FeatureMethod):
    """Nearest class mean, as a third party would write it."""

    family, paper = "metric", "made up"
    kinds = frozenset({"vector"})

    def classify(self, features):
        means = class_means(features.support_x, features.support_y, features.ways)
        return -(torch.cdist(features.query_x, means) ** 2)


class LooksAtOtherQueries(Honest):
    """Centres by the mean of the queries, and does not say so."""

    def classify(self, features):
        centre = features.query_x.mean(1, keepdim=True)
        means = class_means(features.support_x, features.support_y, features.ways)
        return (features.query_x - centre) @ (means - centre).mT


class SaysItIsTransductive(LooksAtOtherQueries):
    """The same, declared."""

    transductive = True


class TransductiveByPosition(Honest):
    """Even a transductive method must not see the order of the queries."""

    transductive = True

    def classify(self, features):
        drift = torch.arange(features.query_x.shape[1])[None, :, None] * torch.arange(features.ways)
        return super().classify(features) + drift


class LooksAtOtherTasks(Honest):
    """Scales by a statistic of the whole batch."""

    def classify(self, features):
        return super().classify(features) / features.support_x.std()


class ReadsQueryLabels(Honest):
    """Adds the answer to the logits."""

    def classify(self, features):
        logits = super().classify(features)
        return logits + one_hot(features.query_y, features.ways, logits)


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


class ExploitsQueryOrder(Honest):
    """Queries come class by class; so would the answers."""

    source_training = "none"

    def classify(self, features):
        q = features.query_x.shape[1]
        answer = torch.arange(q) * features.ways // q
        return one_hot(answer, features.ways, features.query_x).expand(len(features), -1, -1)


class FixedWays(Honest):
    """Has a constant for each class of training, and does not say so."""

    def __init__(self, backbone, task, settings):
        super().__init__(backbone, task, settings)
        self.bias = nn.Parameter(torch.zeros(task.ways))

    def classify(self, features):
        return super().classify(features) + self.bias.mean() * torch.zeros(len(self.bias))


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


class UsesGlobalGenerator(Honest):
    """Dropout in prediction."""

    def classify(self, features):
        return nn.functional.dropout(super().classify(features), 0.5, training=True)


class Diverges(Honest):
    """Divides by zero."""

    def classify(self, features):
        return super().classify(features) / 0


class ForgetsClasses(Honest):
    """Answers with probabilities of one class."""

    source_training = "none"

    def classify(self, features):
        return super().classify(features)[..., :1]


class LearnsNothing(Honest):
    """Its loss is a constant."""

    def loss(self, batch, progress):
        return (batch.map(self.backbone).query_x * 0).sum() + 1


class Guesses(Honest):
    """All classes alike."""

    def classify(self, features):
        return 0 * super().classify(features)


class Raises(Honest):
    """Crashes."""

    source_training = "none"

    def classify(self, features):
        raise KeyError("no such thing")


class CannotTrain(Honest):
    """Its loss crashes, but prediction would work."""

    def loss(self, batch, progress):
        raise ZeroDivisionError("no loss")


class SaysNothing(Honest):
    family, paper = "best", ""


BY_ITSELF = "answers each query by itself"
SEES_ALL = [
    (LooksAtOtherQueries, BY_ITSELF, "leaks between queries"),
    (TransductiveByPosition, BY_ITSELF, "order of the queries"),
    (LooksAtOtherTasks, "answers each task by itself", "leaks between tasks"),
    (ReadsQueryLabels, "does not read the labels of queries", "label leak"),
    (KnowsNames, "does not care how classes are called", "memorise names"),
    (GoesByPosition, "does not care about the order of the support", "order_sensitive = True"),
    (AssumesBalance, "accepts an unbalanced support", ""),
    (ExploitsQueryOrder, "stays at chance when labels mean nothing", "100%"),
    (FixedWays, "answers other numbers of ways", ""),
    (ForgetsWhatItLearned, "predicts the same after saving and loading", "register_buffer"),
    (Adapts, "is left unchanged by predict", "'steps'"),
    (LeavesGradients, "is left unchanged by predict", "torch.autograd.grad"),
    (WritesIntoEpisodes, "is left unchanged by predict", "support_x"),
    (UsesGlobalGenerator, "gives the same result for the same seed", "global generator"),
    (Diverges, "predicts finite values of the right shape", "not finite"),
    (ForgetsClasses, "predicts finite values of the right shape", "[3, 9, 1]"),
    (LearnsNothing, "trains with finite loss and gradients", "no gradient"),
    (Guesses, "learns an easy problem", "33%"),
    (Raises, "predicts finite values of the right shape", "KeyError: 'no such thing'"),
    (SaysNothing, "declares what it is", "the class has no docstring"),
]


@pytest.mark.parametrize(("method", "sentence", "words"), SEES_ALL, ids=lambda p: str(p)[:40])
def test_a_method_that_breaks_a_property_is_caught_and_told_what_is_wrong(method, sentence, words):
    found = {v.property: v for v in check(method)}
    assert found[sentence].passed is False, found[sentence]
    assert words in found[sentence].detail


@pytest.mark.parametrize(
    ("method", "sentence", "reason"),
    [
        (SaysItIsTransductive, BY_ITSELF, "transductive, as declared"),
        (
            SaysItIsOrdered,
            "does not care about the order of the support",
            "order_sensitive, as declared",
        ),
    ],
)
def test_what_is_declared_is_named_and_is_no_fault(method, sentence, reason):
    found = {v.property: v for v in check(method)}
    assert found[sentence].passed is None
    assert reason in found[sentence].detail
    assert [v for v in found.values() if v.passed is False] == []


def test_a_method_that_cannot_train_is_told_so_once():
    wrong = [v for v in check(CannotTrain) if v.passed is False]
    assert [v.property for v in wrong] == ["trains with finite loss and gradients"]
    assert "ZeroDivisionError: no loss" in wrong[0].detail


def test_an_honest_method_passes_everything():
    assert [v for v in check(Honest) if v.passed is False] == []


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (nn.Linear, "not a class that extends"),
        (FeatureMethod, "does not implement classify"),
        (type("Sounds", (Honest,), {"kinds": frozenset({"sound"})}), "allowed are image"),
    ],
)
def test_what_is_no_method_is_refused_with_the_reason(method, words):
    with pytest.raises(InputError, match=words):
        check(method)


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
    assert [v.property for v in wrong] == ["predicts finite values of the right shape"]
    assert words in wrong[0].detail
    spoken = [v.property for v in verdicts if v.passed is not None]
    assert len(spoken) == 3  # with what it declares, and its settings
    assert [v.property for v in verdicts].index(wrong[0].property) == 2
    assert not [v.detail for v in verdicts if "leak" in v.detail]


@pytest.mark.case("27")
def test_a_leak_is_still_called_a_leak() -> None:
    found = {v.property: v for v in check(ReadsQueryLabels)}
    assert found["predicts finite values of the right shape"].passed
    assert "label leak" in found["does not read the labels of queries"].detail
