"""ANIL: only the head adapts; the outer gradient goes through its steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metabench.backbones.conv4 import Conv4
from metabench.methods.base import Task
from metabench.methods.optimisation.anil import ANIL
from metabench.methods.parts.inner_loop import InnerLoopSettings
from tests.methods.small import (
    WAYS,
    build,
    close,
    episodes,
    gradients,
    plain_descent,
    plain_loss,
    plain_network,
    plain_weights,
)


@pytest.mark.parametrize("regression", [False, True])
def test_loss_and_gradient_equal_a_hand_unrolled_loop_over_tasks(regression):
    method = build(ANIL, InnerLoopSettings(inner_lr=0.3, steps=3), outputs=int(regression))
    batch, losses = episodes(regression=regression), []
    for t in range(len(batch)):
        path = plain_descent(
            plain_weights(method),
            batch.support_x[t],
            batch.support_y[t],
            lambda n, s: 0.3,
            3,
            second_order=True,
            adapted=lambda name: name.startswith("head"),
        )
        losses.append(plain_loss(plain_network(batch.query_x[t], path[-1]), batch.query_y[t]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(method.outer_loss(batch, 0.0), expected)
    names = [name for name, _ in method.named_parameters()]
    slopes = torch.autograd.grad(expected, list(method.parameters()))
    close(gradients(method, batch), dict(zip(names, slopes, strict=True)))


def test_the_answer_to_a_query_does_not_change_with_the_other_queries():
    """Batch normalisation takes its moments from the support alone."""
    torch.manual_seed(0)
    method = ANIL(Conv4((1, 16, 16), width=3), Task("image", WAYS, 10), InnerLoopSettings())
    method, batch = method.double().eval(), episodes()
    g = torch.Generator().manual_seed(0)
    batch = replace(
        batch,
        support_x=torch.rand(2, 6, 1, 16, 16, generator=g, dtype=torch.float64),
        query_x=torch.rand(2, 4, 1, 16, 16, generator=g, dtype=torch.float64),
    )
    changed = batch.query_x.clone()
    changed[:, 1:] *= -3
    logits = method.predict(batch)
    torch.testing.assert_close(method.predict(replace(batch, query_x=changed))[:, 0], logits[:, 0])
