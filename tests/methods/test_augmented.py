"""An augmented support: which variants a step sees, and that nothing else is augmented."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench import rng
from metabench.backbones.conv4 import Conv4
from metabench.data.augmentation import augment
from metabench.data.base import CHARACTERS, SENTENCES
from metabench.episodes import Episodes, take
from metabench.methods.base import Method, Task
from metabench.methods.control.scratch import Scratch
from metabench.methods.hybrid.pmf import PMF
from metabench.methods.optimisation.maml import MAML
from metabench.methods.parameter.fine_tune import FineTune
from metabench.methods.parts.augmented import augmented_support
from metabench.methods.parts.fine_tuning import SCALE

WAYS, SUPPORT = 3, 6


def episodes(tasks: int = 2) -> Episodes:
    g = torch.Generator().manual_seed(1)
    support, query = (
        torch.rand(tasks, n, 1, 16, 16, generator=g, dtype=torch.float64) for n in (SUPPORT, 4)
    )
    labels = torch.arange(WAYS).repeat(tasks, 2)
    zeros = torch.zeros(tasks, 4, dtype=torch.int64)
    return Episodes(support, labels, query, zeros, WAYS, augmentation=CHARACTERS)


def build(method: type[Method], **settings) -> Method:
    torch.manual_seed(0)
    task = Task("image", WAYS, 10)
    return method(Conv4((1, 16, 16), 2), task, method.Settings(**settings)).double().eval()


def variants(x: Tensor, step: int, strength: float) -> Tensor:
    """Those of one task's support, one by one: the n-th draws are for the n-th by content."""
    onto = torch.randn(x[0].numel(), generator=rng.torch_generator("content order")).double()
    keys = [float(image.flatten() @ onto) for image in x]
    found: list[Tensor] = []
    for image, key in zip(x, keys, strict=True):
        place = int((np.array(keys) < key).sum())
        alike = image.expand(1, place + 1, *image.shape)
        draw = rng.torch_generator("support augmentation", step)
        found.append(augment(alike, CHARACTERS, strength, draw)[0, place])
    return torch.stack(found)


def test_each_example_has_a_variant_of_its_own_wherever_it_stands():
    e = episodes()
    seen = augmented_support(e, 1.0, 3)
    for x, found in zip(e.support_x, seen.support_x, strict=True):
        torch.testing.assert_close(found, variants(x, 3, 1.0))
    assert torch.equal(seen.support_y, e.support_y) and torch.equal(seen.query_x, e.query_x)
    rows = torch.tensor([[5, 3, 1, 0, 2, 4], [1, 2, 3, 4, 5, 0]])
    moved = augmented_support(replace(e, support_x=take(e.support_x, rows)), 1.0, 3)
    torch.testing.assert_close(moved.support_x, take(seen.support_x, rows))
    torch.testing.assert_close(augmented_support(e[1:], 1.0, 3).support_x, seen.support_x[1:])
    assert not torch.allclose(augmented_support(e, 1.0, 4).support_x, seen.support_x)


def test_without_strength_or_declaration_the_episodes_are_as_they_were():
    e = episodes()
    assert augmented_support(e, 0.0, 0) is e
    features = e.map(lambda x: x.flatten(2))
    assert augmented_support(features, 1.0, 0) is features


def test_texts_lose_pieces_by_their_content():
    pieces = torch.tensor([[101, *range(1000 + 50 * i, 1008 + 50 * i), 102] for i in range(5)])
    e = replace(episodes(1), support_x=pieces[None].int(), augmentation=SENTENCES)
    first = augmented_support(e, 1.0, 1).support_x[0]
    assert first.dtype == torch.int32 and (first == 0).any()
    back = augmented_support(replace(e, support_x=e.support_x.flip(1)), 1.0, 1).support_x[0]
    assert torch.equal(back.flip(0), first)


def test_fine_tuning_on_variants_is_that_of_torch_s_optimiser():
    settings = {"finetune_lr": 0.02, "head_lr": 0.1, "momentum": 0.8, "steps": 3}
    method, e = build(FineTune, support_augmentation=0.5, **settings), episodes()
    answers = method.predict(e)
    for t in range(2):
        net, x, y = copy.deepcopy(method.backbone), e.support_x[t], e.support_y[t]
        features = net(x[None])[0].detach()
        means = torch.stack([features[y == k].mean(0) for k in range(WAYS)])
        head = nn.Linear(features.shape[1], WAYS).double()
        head.weight.data = SCALE * F.normalize(means, dim=1) / features.norm(dim=1).mean()
        head.bias.data.zero_()
        groups = [{"params": net.parameters(), "lr": 0.02}, {"params": head.parameters()}]
        optimiser = torch.optim.SGD(groups, lr=0.1, momentum=0.8)
        for step in range(3):
            optimiser.zero_grad()
            F.cross_entropy(head(net(variants(x, step, 0.5)[None])[0]), y).backward()
            optimiser.step()
        torch.testing.assert_close(answers[t], head(net(e.query_x[t][None])[0]).detach())
    assert not torch.allclose(answers, build(FineTune, **settings).predict(e))


@pytest.mark.parametrize("method", [Scratch, MAML, PMF, FineTune])
def test_adaptation_sees_variants_and_the_queries_come_beside_the_support_itself(method):
    learner, e = build(method, support_augmentation=1.0), episodes()
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach())

    learner.backbone.register_forward_pre_hook(keep)
    answers = learner.predict_after(e, [2])[0]  # type: ignore[operator]
    *steps, last = seen
    beside = [] if method is FineTune else [e.support_x]  # its moments are the source's
    torch.testing.assert_close(last, torch.cat([*beside, e.query_x], dim=1))
    for step in steps[-2:]:
        changed = step[:, -SUPPORT:] - e.support_x
        assert (changed.flatten(2).abs().amax(2) > 0.05).all()
    assert not torch.allclose(steps[-1][:, -SUPPORT:], steps[-2][:, -SUPPORT:])
    torch.testing.assert_close(learner.predict_after(e, [2])[0], answers)  # type: ignore[operator]


def test_training_of_an_inner_loop_sees_the_support_itself():
    e = episodes()
    losses = [
        build(MAML, support_augmentation=strength).train().loss(e, 0.0) for strength in (0.0, 1.0)
    ]
    assert torch.equal(*losses)
