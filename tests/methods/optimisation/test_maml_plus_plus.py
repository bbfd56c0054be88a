"""MAML++: multi-step loss, learned rates, derivative-order annealing."""

from __future__ import annotations

import pytest
import torch

from metabench.methods.optimisation.maml_plus_plus import MAMLPlusPlus, MAMLPlusPlusSettings
from tests.methods.small import (
    build,
    close,
    episodes,
    gradients,
    plain_descent,
    plain_loss,
    plain_network,
    plain_weights,
)

STEPS = 3
RATES = torch.tensor([[0.3, 0.2, 0.1], [0.4, 0.5, 0.6]], dtype=torch.float64)


def method_and_rates(**settings: float) -> MAMLPlusPlus:
    method = build(MAMLPlusPlus, MAMLPlusPlusSettings(steps=STEPS, **settings))
    method.rates.data = RATES.clone()
    return method


@pytest.mark.parametrize(
    ("progress", "weights", "second_order"),
    [
        (0.0, [1 / 3, 1 / 3, 1 / 3], False),
        (0.2, [1 / 6, 1 / 6, 2 / 3], False),  # half-way to the end of the multi-step loss
        (0.5, [0.01, 0.01, 0.98], True),
    ],
)
def test_loss_and_gradient_equal_a_hand_unrolled_multi_step_loss(progress, weights, second_order):
    method = method_and_rates(second_order_from=0.3, multi_step_until=0.4)
    batch, losses = episodes(), []
    for t in range(len(batch)):
        path = plain_descent(
            plain_weights(method),
            batch.support_x[t],
            batch.support_y[t],
            lambda n, s: method.rates[1 if n.startswith("head") else 0, s],
            STEPS,
            second_order,
        )
        for w, v in zip(path[1:], weights, strict=True):
            losses.append(v * plain_loss(plain_network(batch.query_x[t], w), batch.query_y[t]))
    expected = torch.stack(losses).sum() / len(batch)
    torch.testing.assert_close(method.outer_loss(batch, progress), expected)
    names = [name for name, _ in method.named_parameters()]
    slopes = torch.autograd.grad(expected, list(method.parameters()))
    close(gradients(method, batch, progress), dict(zip(names, slopes, strict=True)))


def test_the_weights_of_the_steps_always_sum_to_one():
    method = method_and_rates()
    for progress in (0.0, 0.1, 0.3, 1.0):
        assert sum(method.importance(progress)) == pytest.approx(1)


def test_more_steps_in_prediction_than_in_training_go_on_with_the_last_rate():
    method, batch = method_and_rates(), episodes()
    assert torch.equal(method.learning_rate("head.weight", STEPS + 4), method.rates[1, STEPS - 1])
    late = method.predict_after(batch, [STEPS, STEPS + 5])
    assert late[1].isfinite().all()
    assert not torch.allclose(*late)


def test_every_layer_has_a_rate_for_every_step():
    assert method_and_rates().layers == ["layers.0", "head"]
