"""Planted leaks: each is caught, and an honest twin that does the same without it passes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from metabench.conformance import check
from metabench.episodes import Episodes, class_means, one_hot
from tests.conformance.honest import Honest, assert_caught

LABELS = "does not read the labels of queries"
MEMORY = "remembers nothing of earlier calls"
CLASSIFIES = "classifies embedded examples as it predicts"
QUERIES = "answers each query by itself"
TASKS = "answers each task by itself"
EMBEDS = "embeds each example by itself"


class NearestMean(Honest):
    """The honest twin of most, untrained."""

    source_training, start = "none", "pretrained"


class Adapting(NearestMean):
    """Nearest mean that draws each mean to those of the queries that are next to it."""

    transductive = True

    def groups(self, f: Episodes) -> Tensor:
        """``[T, Q, ways]``: what each query counts for each class."""
        return super().classify(f).softmax(-1)

    def classify(self, features: Episodes) -> Tensor:
        f = features
        shots = one_hot(f.support_y, f.ways, f.support_x)
        weight = torch.cat([shots, self.groups(f)], dim=1)  # [T, S + Q, ways]
        x = torch.cat([f.support_x, f.query_x], dim=1)
        means = weight.mT @ x / weight.sum(1)[..., None]
        return -(torch.cdist(f.query_x, means) ** 2)


class GroupsByLabels(Adapting):
    """(b2) Which queries belong together it takes from their labels, whatever these are called."""

    def groups(self, f: Episodes) -> Tensor:
        together = one_hot(f.query_y, f.ways, f.query_x)  # [T, Q, ways]
        share = together.mT @ super().groups(f)  # [T, group, ways]
        return together @ share.softmax(-1)


class TakesShareOfClasses(Adapting):
    """How many queries each class has it takes from their labels: no order of them matters."""

    def classify(self, features: Episodes) -> Tensor:
        share = one_hot(features.query_y, features.ways, features.query_x).mean(1, keepdim=True)
        return super().classify(features) + (share + 0.01).log()


class CorrectsItself(NearestMean):
    """Right answers it leaves alone; where its answer is not the label, it takes the label."""

    def classify(self, features: Episodes) -> Tensor:
        logits = super().classify(features)
        label = one_hot(features.query_y, features.ways, logits)
        wrong = logits.argmax(-1) != features.query_y
        return torch.where(wrong[..., None], 100 * label, logits)


class Remembers(NearestMean):
    """(c2) Whitens by all queries that it has met so far."""

    def classify(self, features: Episodes) -> Tensor:
        met = [*getattr(self, "met", []), features.query_x.flatten(0, 1)]
        earlier = torch.cat(met[:-1]) if met[1:] else None
        object.__setattr__(self, "met", met)
        logits = super().classify(features)
        return logits if earlier is None else logits / earlier.std()


class RemembersInItsClass(NearestMean):
    """The same where no copy of the learner leads: in the class."""

    met: ClassVar[list[Tensor]] = []

    def classify(self, features: Episodes) -> Tensor:
        self.met.append(features.support_x.std())
        return super().classify(features) / torch.stack(self.met).mean()


class RecognisesQueries(NearestMean):
    """Answers what it has seen once more confidently."""

    def classify(self, features: Episodes) -> Tensor:
        key = features.query_x.sum().item()
        seen = key in getattr(self, "seen", ())
        object.__setattr__(self, "seen", {*getattr(self, "seen", ()), key})
        return super().classify(features) * (2 if seen else 1)


class RandomStateRemembers(NearestMean):
    """Keeps what it has met in the seed of torch's generator, and knows its own seeds again."""

    mark = 77 << 40

    def classify(self, features: Episodes) -> Tensor:
        met = torch.initial_seed() - self.mark
        torch.manual_seed(self.mark + int(features.query_x.abs().mean() * 1000))
        logits = super().classify(features)
        return logits * (1 + met / 1000) if 0 <= met < 1 << 30 else logits


class PredictsOtherwise(NearestMean):
    """(e2) An honest predict for whoever checks; evaluation calls classify."""

    def predict(self, episodes: Episodes) -> Tensor:
        with torch.no_grad():
            return NearestMean.classify(self, episodes.map(self.embed))

    def classify(self, features: Episodes) -> Tensor:
        centre = features.query_x.mean(1, keepdim=True)
        return NearestMean.classify(self, features.map(lambda x: x - 0.5 * centre)) * 2


class PredictsByItself(NearestMean):
    """The honest twin: a predict of its own that says the same."""

    def predict(self, episodes: Episodes) -> Tensor:
        with torch.no_grad():
            parts = [self.embed(x) for x in (episodes.support_x, episodes.query_x)]
        return self.classify(
            Episodes(parts[0], episodes.support_y, parts[1], episodes.query_y, episodes.ways)
        )


class ManyByPosition(Adapting):
    """(e3) Honest up to 20 queries; with more, the places of queries count."""

    def classify(self, features: Episodes) -> Tensor:
        logits, q = super().classify(features), features.query_x.shape[1]
        if q <= 20:
            return logits
        return logits + one_hot(torch.arange(q) * features.ways // q, features.ways, logits)


class ManyTogether(NearestMean):
    """(k) Honest up to 20 queries; with more, their mean is the centre, undeclared."""

    def classify(self, features: Episodes) -> Tensor:
        if features.query_x.shape[1] <= 20:
            return super().classify(features)
        means = class_means(features.support_x, features.support_y, features.ways)
        centre = features.query_x.mean(1, keepdim=True)
        return (features.query_x - centre) @ (means - centre).mT


class VeryManyTogether(ManyTogether):
    """The same above 100 queries."""

    def classify(self, features: Episodes) -> Tensor:
        few = features.query_x.shape[1] <= 100
        return (NearestMean if few else ManyTogether).classify(self, features)


class ManyTasks(NearestMean):
    """Honest up to 20 tasks; with more, all share a scale."""

    def classify(self, features: Episodes) -> Tensor:
        logits = super().classify(features)
        return logits if len(features) <= 20 else logits / features.query_x.std()


class SlyLogits(Tensor):
    """Logits that, asked for those of the labels, say ones."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        found = super().__torch_function__(function, types, arguments, named or {})
        return torch.ones_like(found) if function is Tensor.gather else found


class AnswersMetrics(NearestMean):
    """Its predictions are honest until they are compared with the labels."""

    def classify(self, features: Episodes) -> Tensor:
        return super().classify(features).as_subclass(SlyLogits)


class HonestCopies(ManyTogether):
    """Whoever copies it gets an honest one."""

    honest = False

    def __deepcopy__(self, memo: dict[int, Any]) -> HonestCopies:
        copied = type(self)(copy.deepcopy(self.backbone, memo), self.task, self.settings).eval()
        copied.load_state_dict(self.state_dict())
        copied.honest = True
        return copied.to(next(self.parameters()))

    def classify(self, features: Episodes) -> Tensor:
        return (NearestMean if self.honest else ManyTogether).classify(self, features)


class Steps(NearestMean):
    """Nearest mean, and after some steps colder; says so honestly."""

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        return [self.predict(episodes) * (1 + count) for count in steps]


class ReadsLabelsAfterSteps(Steps):
    """(l) predict is honest, predict_after reads labels."""

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        honest = super().predict_after(episodes, steps)
        return [one_hot(episodes.query_y, episodes.ways, a) + a for a in honest]


class SharesAfterSteps(Steps):
    """The queries of predict_after share a scale."""

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        scale = episodes.query_x.std((1, 2), keepdim=True)
        return [a / scale for a in super().predict_after(episodes, steps)]


class RemembersAfterSteps(Steps):
    """predict_after counts how often it was called."""

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return [a * self.calls for a in super().predict_after(episodes, steps)]


class EmbedsPlaces(NearestMean):
    """A table is class by class, it hopes: an example's place is part of its features."""

    def embed(self, x: Tensor) -> Tensor:
        place = torch.linspace(0, 1, x.shape[1], dtype=x.dtype)[None, :, None]
        return torch.cat([self.backbone(x), place.expand(len(x), -1, 1)], dim=-1)


class EmbedsByTheTable(NearestMean):
    """The centre of all that was embedded last is kept for classify."""

    def embed(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        object.__setattr__(self, "centre", features.mean((0, 1)))
        return features

    def classify(self, features: Episodes) -> Tensor:
        return super().classify(features.map(lambda x: (x - self.centre).clamp_min(0)))


@pytest.mark.parametrize(
    ("leak", "sentence", "words"),
    [
        (GroupsByLabels, LABELS, "label leak"),
        (TakesShareOfClasses, LABELS, "label leak"),
        (CorrectsItself, LABELS, "label leak"),
        (Remembers, MEMORY, "asked after others"),
        (RemembersInItsClass, MEMORY, "nor in its class"),
        (RecognisesQueries, MEMORY, "asked after others"),
        (RandomStateRemembers, MEMORY, "random generator"),
        (PredictsOtherwise, CLASSIFIES, "evaluation calls the one"),
        (ManyByPosition, QUERIES, "the order of the queries"),
        (ManyTogether, QUERIES, "in place of 75"),
        (VeryManyTogether, QUERIES, "it is one of 300"),
        (HonestCopies, QUERIES, "in place of 75"),
        (ManyTasks, TASKS, "leaks between tasks"),
        (ReadsLabelsAfterSteps, LABELS, "what predict_after answers"),
        (SharesAfterSteps, QUERIES, "what predict_after answers"),
        (RemembersAfterSteps, MEMORY, "predict_after answers the same tasks"),
        (EmbedsPlaces, EMBEDS, "its place"),
        (EmbedsByTheTable, TASKS, "leaks between tasks"),
        (AnswersMetrics, "predicts finite values of the right shape", "SlyLogits"),
    ],
)
def test_a_planted_leak_is_caught_and_named(leak, sentence, words) -> None:
    assert_caught(leak, sentence, words)


@pytest.mark.parametrize("twin", [NearestMean, Adapting, PredictsByItself, Steps])
def test_its_honest_twin_passes(twin) -> None:
    assert [v for v in check(twin) if v.passed is False] == []
