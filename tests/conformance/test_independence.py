"""What sees other queries, other tasks or the labels of queries is caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metabench import rng
from metabench.conformance import check
from metabench.conformance.independence import augments
from metabench.conformance.subject import Subject
from metabench.data.augmentation import augment
from metabench.episodes import Episodes, class_means, one_hot
from metabench.methods.parameter.fine_tune import FineTune
from metabench.methods.parts import fine_tuning
from metabench.methods.parts.augmented import augmented_support
from tests.conformance.honest import Honest, assert_caught, assert_named_and_no_fault

BY_ITSELF = "answers each query by itself"


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


class RepeatsItself(Honest):
    """What it met changes new answers; what it is asked again it answers as before."""

    source_training, start = "none", "pretrained"

    def classify(self, features: Episodes) -> Tensor:
        answers = vars(self).setdefault("answers", {})
        key = features.query_x.detach().numpy().tobytes()
        return answers.setdefault(key, super().classify(features) * (1 + len(answers)))


class RepeatsItselfHonestly(Honest):
    """The honest twin keeps answers, too, to save time."""

    source_training, start = "none", "pretrained"

    def classify(self, features: Episodes) -> Tensor:
        answers = vars(self).setdefault("answers", {})
        key = b"".join(x.detach().numpy().tobytes() for x in (features.support_x, features.query_x))
        return answers.setdefault(key, super().classify(features))


class ScalesByQueries(Honest):
    """Features are scaled by the spread of a class; one example has none: that of queries."""

    def spread(self, features: Episodes) -> Tensor:
        return features.query_x.std(1, keepdim=True)

    def classify(self, features: Episodes) -> Tensor:
        f, alone = features, features.support_x.shape[1] <= features.ways
        means = class_means(f.support_x, f.support_y, f.ways)
        own = f.support_x - means.gather(1, f.support_y[..., None].expand_as(f.support_x))
        spread = self.spread(f) if alone else own.square().mean(1, keepdim=True).sqrt()
        return super().classify(f.map(lambda x: x / (1 + spread)))


class ScalesBySupport(ScalesByQueries):
    """The honest twin scales by that of the support."""

    def spread(self, features: Episodes) -> Tensor:
        return features.support_x.std(1, keepdim=True)


class CentresLargeTables(Honest):
    """Adapts to what looks like a whole target, and to nothing smaller."""

    def embed(self, x: Tensor) -> Tensor:
        features = super().embed(x)
        return features - features.mean(1, keepdim=True) if x.shape[1] > 400 else features


@pytest.mark.parametrize(
    ("method", "sentence", "words"),
    [
        (LooksAtOtherQueries, BY_ITSELF, "leaks between queries"),
        (TransductiveByPosition, BY_ITSELF, "order of the queries"),
        (LooksAtOtherTasks, "answers each task by itself", "leaks between tasks"),
        (ReadsQueryLabels, "does not read the labels of queries", "label leak"),
    ],
)
def test_a_leak_from_queries_tasks_or_labels_is_caught(method, sentence, words) -> None:
    assert_caught(method, sentence, words)


@pytest.mark.parametrize("twin", [RepeatsItselfHonestly, ScalesBySupport])
def test_an_honest_twin_passes(twin) -> None:
    assert [v for v in check(twin) if v.passed is False] == []


def test_transduction_that_is_declared_is_named_and_is_no_fault() -> None:
    assert_named_and_no_fault(SaysItIsTransductive, BY_ITSELF, "transductive, as declared")


@pytest.mark.case("27")
def test_a_leak_is_still_called_a_leak() -> None:
    found = {v.property: v for v in check(ReadsQueryLabels)}
    assert found["predicts finite values of the right shape"].passed
    assert "label leak" in found["does not read the labels of queries"].detail


def by_place(e: Episodes, strength: float, step: int) -> Episodes:
    draw = rng.torch_generator(step)
    return replace(e, support_x=augment(e.support_x, e.augmentation, strength, draw))


def by_company(e: Episodes, strength: float, step: int) -> Episodes:
    return augmented_support(e, strength, 100 * len(e) + step)


def by_chance(e: Episodes, strength: float, step: int) -> Episodes:
    return augmented_support(e, strength, int(torch.randint(1000, ())))


def not_at_all(e: Episodes, strength: float, step: int) -> Episodes:
    return e


def test_variants_that_the_support_alone_decides_pass():
    assert augments(Subject(FineTune, "image")) is None


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (by_place, "in another order of the support"),
        (by_company, "when it is alone"),
        (by_chance, "Name the draws by the step alone"),
        (not_at_all, "changes no answer"),
    ],
)
def test_variants_of_a_support_that_anything_else_decides_are_caught(draws, words, monkeypatch):
    monkeypatch.setattr(fine_tuning, "augmented_support", draws)
    found = augments(Subject(FineTune, "image"))
    assert found is not None and words in found
