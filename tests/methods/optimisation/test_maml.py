"""MAML: the meta-gradient against finite differences and a hand-unrolled loop; no leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.backbones.conv4 import Conv4
from metabench.backbones.mlp import MLP
from metabench.episodes import Episodes, restore_names
from metabench.methods.base import Task
from metabench.methods.optimisation.maml import MAML, MAMLSettings
from metabench.methods.parts import inner_loop

WAYS, STEPS, RATE = 3, 2, 0.3


def episodes(*shape: int, tasks: int = 2, support: int = 6, queries: int = 4) -> Episodes:
    """Unbalanced, unordered classification tasks in float64."""
    g = torch.Generator().manual_seed(0)
    return Episodes(
        torch.randn(tasks, support, *shape, generator=g, dtype=torch.float64),
        torch.randint(WAYS, (tasks, support), generator=g),
        torch.randn(tasks, queries, *shape, generator=g, dtype=torch.float64),
        torch.randint(WAYS, (tasks, queries), generator=g),
        WAYS,
    )


def maml(backbone: MLP | Conv4, outputs: int = 0, **settings: float) -> MAML:
    task = Task("regression" if outputs else "image", 0 if outputs else WAYS, 10, outputs)
    values = MAMLSettings(inner_lr=RATE, steps=STEPS, test_steps=STEPS, **settings)
    return MAML(backbone, task, values).double()


def conv_maml(**settings: float) -> MAML:
    torch.manual_seed(0)
    return maml(Conv4((1, 16, 16), width=3), **settings)


def gradients(method: MAML, batch: Episodes) -> dict[str, Tensor]:
    method.zero_grad()
    method.outer_loss(batch, 0.0).backward()
    return {name: p.grad.clone() for name, p in method.named_parameters()}


def test_the_meta_gradient_equals_finite_differences():
    torch.manual_seed(0)
    method, batch = maml(MLP((5,), (7,))), episodes(5)
    analytic = gradients(method, batch)
    epsilon = 1e-6
    for name, parameter in method.named_parameters():
        values, numeric = parameter.data.view(-1), torch.zeros_like(parameter).view(-1)
        for i in range(len(values)):
            start = values[i].item()
            values[i] = start + epsilon
            above = method.outer_loss(batch, 0.0).item()
            values[i] = start - epsilon
            below = method.outer_loss(batch, 0.0).item()
            values[i] = start
            numeric[i] = (above - below) / (2 * epsilon)
        torch.testing.assert_close(
            analytic[name].flatten(), numeric, rtol=1e-5, atol=1e-8, msg=name
        )


def slow_conv4(x: Tensor, w: dict[str, Tensor], moments_from: Tensor) -> Tensor:
    """Conv4 and head on one task, in plain functional operations; both inputs go side by side."""
    for i in range(4):
        x, moments_from = (
            F.conv2d(z, w[f"backbone.blocks.{i}.conv.weight"], padding=1) for z in (x, moments_from)
        )
        mean = moments_from.mean((0, 2, 3), keepdim=True)
        var = (moments_from - mean).square().mean((0, 2, 3), keepdim=True)
        scale = w[f"backbone.blocks.{i}.norm.weight"][:, None, None]
        shift = w[f"backbone.blocks.{i}.norm.bias"][:, None, None]
        x, moments_from = (
            F.max_pool2d(F.relu((z - mean) / (var + 1e-5).sqrt() * scale + shift), 2)
            for z in (x, moments_from)
        )
    return F.linear(x.flatten(1), w["head.weight"], w["head.bias"])


def slow_loss(method: MAML, batch: Episodes, first_order: bool = False) -> Tensor:
    """Finn et al. 2017, algorithm 2, one task after the other."""
    losses = []
    for sx, sy, qx, qy in zip(
        batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True
    ):
        w = dict(method.named_parameters())
        for _ in range(STEPS):
            inner = F.cross_entropy(slow_conv4(sx, w, sx), sy)
            slopes = torch.autograd.grad(inner, list(w.values()), create_graph=not first_order)
            w = {name: p - RATE * g for (name, p), g in zip(w.items(), slopes, strict=True)}
        losses.append(F.cross_entropy(slow_conv4(qx, w, sx), qy))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("first_order", [False, True])
def test_loss_and_meta_gradient_equal_a_hand_unrolled_loop_over_tasks(first_order):
    method, batch = conv_maml(first_order=first_order), episodes(1, 16, 16)
    expected = slow_loss(method, batch, first_order)
    torch.testing.assert_close(method.outer_loss(batch, 0.0), expected, rtol=1e-10, atol=1e-12)
    slopes = torch.autograd.grad(expected, list(method.parameters()))
    for (name, ours), theirs in zip(gradients(method, batch).items(), slopes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10, msg=name)


def test_first_order_equals_second_order_where_the_loss_has_no_curvature(monkeypatch):
    """A loss that is linear in the outputs of a linear network has a Hessian of zero."""

    def gap() -> float:
        torch.manual_seed(0)
        second, batch = maml(MLP((5,), ()), outputs=WAYS), episodes(5)
        first = maml(MLP((5,), ()), outputs=WAYS, first_order=True)
        first.load_state_dict(second.state_dict())
        g = torch.Generator().manual_seed(1)
        targets = torch.randn(2, 6, WAYS, generator=g, dtype=torch.float64)
        batch = replace(batch, support_y=targets, query_y=targets[:, :4], ways=None)
        a, b = gradients(first, batch), gradients(second, batch)
        return max(float((a[name] - b[name]).abs().max()) for name in a)

    assert gap() > 1e-3  # squared error is curved
    monkeypatch.setattr(inner_loop, "task_loss", lambda o, y: (o * y).flatten(1).mean(1))
    assert gap() < 1e-12


def test_the_answer_to_a_query_does_not_change_with_the_other_queries():
    method, batch = conv_maml(), episodes(1, 16, 16)
    logits = method.predict(batch)
    changed = batch.query_x.clone()
    changed[:, 1:] = 10 * changed[:, 1:].flip(1) + 1
    torch.testing.assert_close(method.predict(replace(batch, query_x=changed))[:, 0], logits[:, 0])
    alone = replace(batch, query_x=batch.query_x[:, :1], query_y=batch.query_y[:, :1])
    torch.testing.assert_close(method.predict(alone), logits[:, :1])


def test_tasks_are_adapted_by_themselves():
    method, batch = conv_maml(), episodes(1, 16, 16)
    torch.testing.assert_close(method.predict(batch[:1]), method.predict(batch)[:1])


def test_prediction_after_n_steps_equals_n_steps_in_training_and_changes_nothing():
    method, batch = conv_maml().eval(), episodes(1, 16, 16)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    one, two = method.predict_after(batch, [1, STEPS])
    slots, slot = batch.by_appearance()
    trained = method.query_logits(slots, method.adapt(slots, STEPS, second_order=True))
    torch.testing.assert_close(two, restore_names(trained, slot))
    assert not torch.allclose(one, two)
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in method.parameters())


def test_regression_adapts_an_ordinary_output_layer():
    torch.manual_seed(0)
    method, batch = maml(MLP((1,), (8,)), outputs=1), episodes(1)
    batch = replace(batch, support_y=batch.support_x.sin(), query_y=batch.query_x.sin(), ways=None)
    assert method.predict(batch).shape == (2, 4, 1)
    losses = [
        (out - batch.query_y).square().mean().item() for out in method.predict_after(batch, [0, 20])
    ]
    assert losses[1] < losses[0]
