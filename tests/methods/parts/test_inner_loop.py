"""Heads with a row for every slot, slots at random, any number of ways, and whose moments."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones.conv4 import Conv4
from metabench.backbones.mlp import MLP
from metabench.episodes import Episodes
from metabench.methods import METHODS
from metabench.methods.base import Task
from metabench.methods.hybrid.mtl import MTL
from metabench.methods.optimisation.anil import ANIL
from metabench.methods.optimisation.maml import MAML, MAMLSettings
from metabench.methods.optimisation.meta_sgd import MetaSGD, MetaSGDSettings
from metabench.methods.parts.inner_loop import GradientMethod
from tests.methods.small import DIM, build, plain_descent, plain_network, plain_weights

ANY_WAYS = [
    *("maml", "fomaml", "reptile", "anil", "meta_sgd", "maml_plus_plus", "imaml"),
    *("unicorn_maml", "mtl", "proto_maml"),
]
RATE, STEPS = 0.3, 3


def tasks(ways: int, shots: int = 1, count: int = 2) -> Episodes:
    """Classes apart, in random order; a query of each."""
    g = torch.Generator().manual_seed(ways)
    labels = torch.stack([torch.randperm(ways * shots, generator=g) % ways for _ in range(count)])
    centres = 3 * torch.randn(count, ways, DIM, generator=g, dtype=torch.float64)
    rows = torch.arange(count)[:, None]
    query = torch.arange(ways).expand(count, -1)
    return Episodes(centres[rows, labels], labels, centres + 0.1, query, ways)


def five_way(name: str) -> GradientMethod:
    torch.manual_seed(0)
    method = METHODS.load(name)
    free = {"regularisation": 0.01} if name == "imaml" else {}  # its default keeps θ_i' near θ
    settings = method.Settings(inner_lr=0.5, **free)
    learner = method(MLP((DIM,), (16,)), Task("vector", 5, 10), settings)
    return learner.double().eval()  # type: ignore[return-value]


class Seen(MAML):
    """Remembers what its outer loss gets."""

    def outer_loss(self, batch, progress):
        self.batch = batch
        return super().outer_loss(batch, progress)


def test_in_training_classes_take_slots_at_random_by_their_order_of_appearance():
    learner, batch, found = build(Seen, MAMLSettings(steps=1)), tasks(3, shots=2), set()
    for seed in range(20):
        torch.manual_seed(seed)
        learner.loss(batch, 0.0)
        slots = learner.batch
        for t in range(len(batch)):
            slot_of: dict[int, int] = {}
            for x, y in zip(slots.support_x[t], slots.support_y[t].tolist(), strict=True):
                (label,) = batch.support_y[t][(batch.support_x[t] == x).all(1)].unique().tolist()
                assert slot_of.setdefault(label, y) == y  # the same slot for all of a class
            assert list(slot_of.values()) == [0, 1, 2]  # in order of appearance
            assert slots.query_y[t].tolist() == [slot_of[k] for k in batch.query_y[t].tolist()]
            found.add(tuple(slot_of))
    assert len(found) == 6  # every order of three classes


@pytest.mark.parametrize("ways", [2, 5, 20, 77])
@pytest.mark.parametrize("name", ANY_WAYS)
def test_a_learner_of_five_ways_answers_fewer_and_more_whatever_classes_are_called(name, ways):
    learner, batch = five_way(name), tasks(ways)
    (answers,) = learner.predict_after(batch, [10])
    right = (answers.argmax(-1) == batch.query_y).double().mean()
    assert answers.shape == (2, ways, ways)
    assert right > min(0.8, 3 / ways)
    names = torch.randperm(ways, generator=torch.Generator().manual_seed(0))
    (renamed,) = learner.predict_after(replace(batch, support_y=names[batch.support_y]), [10])
    torch.testing.assert_close(renamed[..., names], answers)


@pytest.mark.parametrize("ways", [2, 7])
@pytest.mark.parametrize("method", [MAML, MetaSGD])
def test_further_classes_start_at_the_mean_row_and_move_at_its_rates(method, ways):
    """Three slots; a class beyond has the mean of their rows, and fewer ways leave slots empty."""
    settings = MAMLSettings if method is MAML else MetaSGDSettings
    learner = build(method, settings(inner_lr=RATE, test_steps=STEPS))
    learner.head.bias.data = torch.tensor([0.1, -0.4, 0.6], dtype=torch.float64)

    def rows(w: Tensor) -> Tensor:
        return torch.stack([w[k] if k < 3 else (w[0] + w[1] + w[2]) / 3 for k in range(ways)])

    rates: dict[str, Tensor | float] = dict.fromkeys(plain_weights(learner), RATE)
    if method is MetaSGD:
        for name, alpha in zip(rates, learner.alpha, strict=True):
            g = torch.Generator().manual_seed(len(name))
            alpha.data = torch.rand(alpha.shape, generator=g, dtype=torch.float64)
            rates[name] = rows(alpha) if "head" in name else alpha
    batch = tasks(ways, shots=2)
    answers = learner.predict(batch)
    for t in range(len(batch)):
        order = list(dict.fromkeys(batch.support_y[t].tolist()))  # classes by slot
        start = {n: rows(w) if "head" in n else w for n, w in plain_weights(learner).items()}
        labels = torch.tensor([order.index(k) for k in batch.support_y[t].tolist()])
        path = plain_descent(
            start, batch.support_x[t], labels, lambda n, s: rates[n], STEPS, second_order=False
        )
        expected = plain_network(batch.query_x[t], path[-1])
        torch.testing.assert_close(answers[t][:, order], expected)


def images(count: int = 2) -> Episodes:
    g = torch.Generator().manual_seed(3)
    support = 2 + torch.randn(count, 6, 1, 16, 16, generator=g, dtype=torch.float64)
    query = 5 * torch.randn(count, 4, 1, 16, 16, generator=g, dtype=torch.float64)
    labels = torch.arange(6).expand(count, -1) % 3
    return Episodes(support, labels, query, labels[:, :4], 3)


def on_images(method: type[GradientMethod], **settings) -> GradientMethod:
    torch.manual_seed(0)
    backbone = Conv4((1, 16, 16), width=3)
    return method(backbone, Task("image", 3, 10), method.Settings(**settings)).double()


def plain_conv4(backbone: Conv4) -> nn.Sequential:
    """The same network of torch's own layers."""
    layers: list[nn.Module] = []
    for i, block in enumerate(backbone.blocks):
        conv = nn.Conv2d(1 if i == 0 else 3, 3, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)]
        conv.load_state_dict(block.conv.state_dict())
        layers[-3].load_state_dict(block.norm.state_dict())
    return nn.Sequential(*layers, nn.Flatten()).double()


@pytest.mark.parametrize("method", [MAML, ANIL, MTL])
def test_running_moments_follow_the_supports_of_training_and_nothing_else(method):
    learner, batch = on_images(method, steps=1).train(), images()
    reference = plain_conv4(learner.backbone).train()
    reference(batch.support_x.flatten(0, 1))
    learner.loss(batch, 0.0)
    for block, norm in zip(learner.backbone.blocks, reference[1::4], strict=True):
        torch.testing.assert_close(block.norm.running_mean, norm.running_mean)
        torch.testing.assert_close(block.norm.running_var, norm.running_var)


def test_moments_of_the_source_are_the_running_ones_in_prediction():
    batch = images()
    learner = on_images(ANIL, moments="source", test_steps=0).train()
    learner.loss(batch, 0.0)
    features = plain_conv4(learner.backbone).eval()(batch.query_x.flatten(0, 1))
    expected = (features @ learner.head.weight.T + learner.head.bias).unflatten(0, (2, 4))
    torch.testing.assert_close(learner.eval().predict(batch), expected)


@pytest.mark.parametrize("name", ["maml", "anil", "mtl", "proto_maml", "unicorn_maml"])
def test_whose_moments_matters_in_prediction_alone(name):
    batch, answers, losses = images(), {}, {}
    for moments in ("source", "support"):
        learner = on_images(METHODS.load(name), moments=moments)
        torch.manual_seed(0)
        losses[moments] = learner.train().loss(batch, 0.0)
        answers[moments] = learner.eval().predict(batch)
        alone = replace(batch, query_x=batch.query_x[:, :1], query_y=batch.query_y[:, :1])
        torch.testing.assert_close(learner.predict(alone), answers[moments][:, :1])
    torch.testing.assert_close(losses["source"], losses["support"])
    assert not torch.allclose(answers["source"], answers["support"], rtol=0.01)


def test_without_batch_norm_no_moments_are_looked_for(monkeypatch):
    learner, seen = build(MAML, MAMLSettings(steps=1)), []
    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda *a: seen.append(a) or forward(*a))
    learner.train().loss(tasks(3), 0.0)
    assert len(seen) == 2  # the support in the inner step, then support and queries
