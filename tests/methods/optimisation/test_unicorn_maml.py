"""UNICORN-MAML: one start for all classes, against the paper's loop with a row of its own."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from metabench.methods.optimisation.unicorn_maml import UnicornMAML, UnicornMAMLSettings
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

SETTINGS = UnicornMAMLSettings(inner_lr=0.3, steps=3, test_steps=3)


@pytest.mark.parametrize("size", [0.0, 2.0])
def test_loss_and_gradient_equal_the_papers_loop_whatever_its_shared_row(size):
    """A row w that is learned, as in the paper: its gradient is zero, and it changes nothing."""
    method, batch, losses = build(UnicornMAML, SETTINGS), episodes(), []
    g = torch.Generator().manual_seed(4)
    row = size * torch.randn(1, 7, generator=g, dtype=torch.float64)
    row.requires_grad_()
    for t in range(len(batch)):
        head = {"head.weight": row.repeat(WAYS, 1), "head.bias": row.sum().repeat(WAYS)}
        path = plain_descent(
            plain_weights(method) | head,
            batch.support_x[t],
            batch.support_y[t],
            lambda n, s: 0.3,
            3,
            second_order=True,
        )
        losses.append(plain_loss(plain_network(batch.query_x[t], path[-1]), batch.query_y[t]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(method.outer_loss(batch, 0.0), expected)
    names = [name for name, _ in method.named_parameters()]
    *slopes, of_row = torch.autograd.grad(expected, [*method.parameters(), row])
    close(gradients(method, batch), dict(zip(names, slopes, strict=True)))
    assert of_row.abs().max() < 1e-14 < 1e-4 < max(s.abs().max() for s in slopes)


def test_the_first_step_moves_the_head_alone_and_the_second_the_body_too():
    method, batch = build(UnicornMAML, SETTINGS), episodes()
    start, one, two, _ = method.inner_loop(batch, 3, second_order=False)
    body = "layers.0.weight"
    torch.testing.assert_close(one[body], start[body], rtol=0, atol=1e-15)
    assert (one["head.weight"] - start["head.weight"]).abs().max() > 0.01
    assert (two[body] - one[body]).abs().max() > 0.001


def test_before_adaptation_every_class_is_as_likely():
    method = build(UnicornMAML, SETTINGS)
    (logits,) = method.predict_after(episodes(), [0])
    torch.testing.assert_close(logits.softmax(-1), torch.full_like(logits, 1 / WAYS))


def test_one_step_would_be_anil_and_is_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        UnicornMAMLSettings(steps=1)
