"""Fine-tuning and its variants, task by task, against torch's own optimiser on a plain copy."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from metabench.backbones.conv4 import Conv4
from metabench.episodes import Episodes
from metabench.methods.base import Task
from metabench.methods.control.scratch import Scratch
from metabench.methods.feature.baseline_plus_plus import BaselinePlusPlus, BaselinePlusPlusSettings
from metabench.methods.parameter.fine_tune import FineTune
from metabench.methods.parameter.gradual_unfreezing import GradualUnfreezing
from metabench.methods.parameter.l2_sp import L2SP
from metabench.methods.parameter.last_block import LastBlock
from metabench.methods.parameter.norm_bias import NormBias
from metabench.methods.parts.fine_tuning import SCALE
from tests.methods.small import WAYS, build, episodes

COMMON = {"finetune_lr": 0.05, "head_lr": 0.2, "momentum": 0.8, "steps": 6}


def blocks(backbone: nn.Module) -> dict[str, list[nn.Parameter]]:
    named = list(backbone.named_parameters())
    return {
        prefix: [p for n, p in named if n.startswith(prefix)] for prefix in backbone.block_prefixes
    }


def reference(method, batch, t, groups, penalty=lambda net, head: 0.0, at_step=None):
    """Answers of task ``t`` after SGD with momentum on a copy of the network and a linear head."""
    net = copy.deepcopy(method.backbone)
    x, y = batch.support_x[t][None], batch.support_y[t]
    features = net(x)[0].detach()
    head = nn.Linear(features.shape[1], WAYS).double()
    means = torch.stack(
        [features[y == k].mean(0) if (y == k).any() else 0 * features[0] for k in range(WAYS)]
    )
    head.weight.data = SCALE * F.normalize(means, dim=1) / features.norm(dim=1).mean()
    head.bias.data.zero_()
    optimiser = torch.optim.SGD(groups(net, head), momentum=0.8)
    for step in range(6):
        if at_step:
            at_step(optimiser, net, step)
        optimiser.zero_grad()
        (F.cross_entropy(head(net(x)[0]), y) + penalty(net, head)).backward()
        optimiser.step()
    return head(net(batch.query_x[t][None])[0])


def everything(net, head):
    return [
        {"params": list(net.parameters()), "lr": 0.05},
        {"params": list(head.parameters()), "lr": 0.2},
    ]


def last(net, head):
    return [
        {"params": blocks(net)[net.block_prefixes[-1]], "lr": 0.05},
        {"params": list(head.parameters()), "lr": 0.2},
    ]


def vectors(net, head):
    return [
        {"params": [p for p in net.parameters() if p.dim() == 1], "lr": 0.05},
        {"params": list(head.parameters()), "lr": 0.2},
    ]


@pytest.mark.parametrize(
    ("method", "groups"),
    [(FineTune, everything), (Scratch, everything), (LastBlock, last), (NormBias, vectors)],
)
def test_adaptation_equals_sgd_with_momentum(method, groups) -> None:
    learner = build(method, method.Settings(**COMMON), widths=(7, 6))
    batch = episodes(tasks=3, support=8)
    found = learner.predict(batch)
    for t in range(3):
        torch.testing.assert_close(
            found[t], reference(learner, batch, t, groups)[:], rtol=1e-9, atol=1e-9
        )
    assert (found - learner.predict_after(batch, [0])[0]).abs().max() > 1e-3


def test_l2_sp_pulls_the_backbone_to_its_start_and_the_head_to_zero() -> None:
    learner = build(L2SP, L2SP.Settings(**COMMON, alpha=0.7, beta=0.3))
    batch, start = episodes(support=8), dict(learner.backbone.named_parameters())

    def penalty(net, head):
        distance = sum((p - start[n].detach()).square().sum() for n, p in net.named_parameters())
        return 0.35 * distance + 0.15 * sum(p.square().sum() for p in head.parameters())

    found = learner.predict(batch)
    for t in range(len(batch)):
        expected = reference(learner, batch, t, everything, penalty)
        torch.testing.assert_close(found[t], expected, rtol=1e-9, atol=1e-9)


def test_blocks_join_one_by_one_with_rates_that_fall_towards_the_input() -> None:
    settings = GradualUnfreezing.Settings(**COMMON, decay=2.0, every=2)
    learner, batch = build(GradualUnfreezing, settings, widths=(7, 6)), episodes(support=8)

    def groups(net, head):
        return [{"params": list(head.parameters()), "lr": 0.2}]

    def thaw(optimiser, net, step):
        first, second = blocks(net).values()
        joins = {2: (second, 0.05), 4: (first, 0.025)}
        if step in joins:  # until then nothing of it is known to the optimiser
            parameters, rate = joins[step]
            optimiser.add_param_group({"params": parameters, "lr": rate})

    found = learner.predict(batch)
    for t in range(len(batch)):
        expected = reference(learner, batch, t, groups, at_step=thaw)
        torch.testing.assert_close(found[t], expected, rtol=1e-9, atol=1e-9)


def test_baseline_plus_plus_fits_a_cosine_head_by_sgd() -> None:
    settings = BaselinePlusPlusSettings(scale=5.0, finetune_lr=0.3, momentum=0.8, steps=7)
    learner, batch = build(BaselinePlusPlus, settings), episodes(support=8)
    found = learner.predict(batch)
    with torch.no_grad():
        f = batch.map(lambda x: F.normalize(learner.backbone(x), dim=-1))
    for t in range(len(batch)):
        y = batch.support_y[t]
        sums = torch.stack([f.support_x[t][y == k].sum(0) for k in range(WAYS)])
        head = (sums / y.bincount(minlength=WAYS).clamp_min(1)[:, None]).requires_grad_()
        optimiser = torch.optim.SGD([head], lr=0.3, momentum=0.8)
        for _ in range(7):
            optimiser.zero_grad()
            logits = 5 * f.support_x[t] @ F.normalize(head, dim=1).T
            F.cross_entropy(logits, y).backward()
            optimiser.step()
        torch.testing.assert_close(
            found[t], (5 * f.query_x[t] @ F.normalize(head, dim=1).T).detach()
        )


def test_baseline_plus_plus_pretrains_by_scaled_cosines() -> None:
    from metabench.episodes.source import Examples

    learner = build(BaselinePlusPlus, BaselinePlusPlusSettings(scale=5.0))
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([0, 3, 9, 3])
    f = F.normalize(learner.backbone(x[None])[0], dim=1)
    expected = F.cross_entropy(5 * f @ F.normalize(learner.head, dim=1).T, y)
    torch.testing.assert_close(learner.loss(Examples(x, y), 0.0), expected)


def on_images(method, **settings):
    """``method`` on a small convolutional network, and a task whose queries are its support."""
    torch.manual_seed(0)
    backbone = Conv4((1, 16, 16), width=4)
    learner = method(backbone, Task("image", WAYS, 10), method.Settings(**COMMON | settings))
    g = torch.Generator().manual_seed(2)
    x = 1 + torch.randn(1, 6, 1, 16, 16, generator=g, dtype=torch.float64)
    y = torch.arange(6)[None] % WAYS
    return learner.double(), Episodes(x, y, x, torch.zeros_like(y), WAYS)


@pytest.mark.parametrize("method", [FineTune, Scratch])
def test_moments_of_the_support_are_those_of_batch_norm_in_training(method) -> None:
    learner, batch = on_images(method, moments="support")
    learner.train()
    groups = lambda net, head: [  # noqa: E731
        {"params": net.parameters(), "lr": 0.05},
        {"params": head.parameters(), "lr": 0.2},
    ]
    expected = reference(learner, batch, 0, groups)
    torch.testing.assert_close(learner.eval().predict(batch)[0], expected)
    other, _ = on_images(FineTune, moments="source")
    assert not torch.allclose(other.eval().predict(batch)[0], expected, rtol=0.01)


def test_moments_of_the_support_hold_for_queries_of_any_company() -> None:
    learner, batch = on_images(FineTune, moments="support")
    weights = learner.eval().head_start(batch)
    queries = 3 * batch.query_x.flip(1)
    together = learner.outputs(batch, queries, weights)
    torch.testing.assert_close(learner.outputs(batch, queries[:, 1:2], weights), together[:, 1:2])


def test_a_network_that_has_seen_no_source_has_no_moments_of_it() -> None:
    with pytest.raises(ValidationError, match="support"):
        Scratch.Settings(moments="source")
