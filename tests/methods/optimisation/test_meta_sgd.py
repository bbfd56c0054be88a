"""Meta-SGD: learned rates per weight, against finite differences and a slow reference."""

from __future__ import annotations

import pytest
import torch

from metabench.methods.optimisation.maml import MAML, MAMLSettings
from metabench.methods.optimisation.meta_sgd import MetaSGD, MetaSGDSettings
from tests.methods.small import (
    build,
    close,
    episodes,
    gradients,
    numeric_gradients,
    plain_descent,
    plain_loss,
    plain_network,
    plain_weights,
)


def meta_sgd(regression: bool = False, steps: int = 2) -> MetaSGD:
    """With rates that differ from weight to weight, some of them negative."""
    method = build(MetaSGD, MetaSGDSettings(steps=steps), outputs=int(regression))
    for i, alpha in enumerate(method.alpha):
        g = torch.Generator().manual_seed(i)
        alpha.data = torch.rand(alpha.shape, generator=g, dtype=torch.float64) - 0.2
    return method


@pytest.mark.parametrize("regression", [False, True])
def test_the_loss_equals_a_hand_unrolled_loop_with_a_rate_per_weight(regression):
    method, batch, losses = meta_sgd(regression), episodes(regression=regression), []
    rates = {
        "backbone.layers.0.weight": method.alpha[0],
        "backbone.layers.0.bias": method.alpha[1],
        "head.weight": method.alpha[2],
        "head.bias": method.alpha[3],
    }
    for t in range(len(batch)):
        path = plain_descent(
            plain_weights(method),
            batch.support_x[t],
            batch.support_y[t],
            lambda n, s: rates[n],
            2,
            second_order=True,
        )
        losses.append(plain_loss(plain_network(batch.query_x[t], path[-1]), batch.query_y[t]))
    torch.testing.assert_close(method.outer_loss(batch, 0.0), torch.stack(losses).mean())


def test_the_gradient_by_weights_and_rates_equals_finite_differences():
    method, batch = meta_sgd(), episodes()
    numeric = numeric_gradients(method, lambda: method.outer_loss(batch, 0.0))
    analytic = gradients(method, batch)
    close(analytic, numeric, rtol=1e-6)
    assert all(analytic[name].abs().max() > 1e-4 for name in analytic if "alpha" in name)


def test_equal_rates_make_it_maml():
    batch = episodes()
    ours = build(MetaSGD, MetaSGDSettings(inner_lr=0.3, steps=2))
    maml = build(MAML, MAMLSettings(inner_lr=0.3, steps=2))
    torch.testing.assert_close(ours.outer_loss(batch, 0.0), maml.outer_loss(batch, 0.0))
