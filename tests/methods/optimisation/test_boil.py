"""BOIL: the body adapts under a head that stays; classes are slots by appearance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metabench.files import InputError
from metabench.methods.optimisation.boil import BOIL
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

SETTINGS = InnerLoopSettings(inner_lr=0.3, steps=3, test_steps=3)


def test_loss_and_gradient_equal_a_hand_unrolled_loop_over_tasks():
    method, batch, losses = build(BOIL, SETTINGS), episodes(), []
    for t in range(len(batch)):
        path = plain_descent(
            plain_weights(method),
            batch.support_x[t],
            batch.support_y[t],
            lambda n, s: 0.3,
            3,
            second_order=True,
            adapted=lambda name: not name.startswith("head"),
        )
        losses.append(plain_loss(plain_network(batch.query_x[t], path[-1]), batch.query_y[t]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(method.outer_loss(batch, 0.0), expected)
    names = [name for name, _ in method.named_parameters()]
    slopes = torch.autograd.grad(expected, list(method.parameters()))
    close(gradients(method, batch), dict(zip(names, slopes, strict=True)))


def test_renaming_the_classes_renames_the_logits():
    method, batch = build(BOIL, SETTINGS), episodes()
    names = torch.tensor([2, 0, 1])
    renamed = replace(batch, support_y=names[batch.support_y], query_y=names[batch.query_y])
    torch.testing.assert_close(method.predict(renamed)[..., names], method.predict(batch))


def test_more_ways_than_rows_of_the_head_are_refused():
    with pytest.raises(InputError, match="label slots"):
        build(BOIL, SETTINGS).predict(replace(episodes(), ways=WAYS + 1))
