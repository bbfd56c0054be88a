"""FOMAML: its outer gradient is the query gradient at the adapted weights."""

from __future__ import annotations

import pytest
import torch

from metabench.methods.optimisation.fomaml import FOMAML
from metabench.methods.parts.inner_loop import InnerLoopSettings
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


@pytest.mark.parametrize("regression", [False, True])
def test_the_outer_gradient_is_the_query_gradient_at_the_adapted_weights(regression):
    method = build(FOMAML, InnerLoopSettings(inner_lr=0.3, steps=3), outputs=int(regression))
    batch = episodes(regression=regression)
    expected = {name: torch.zeros_like(p) for name, p in method.named_parameters()}
    for t in range(len(batch)):
        start = plain_weights(method)
        path = plain_descent(
            start, batch.support_x[t], batch.support_y[t], lambda n, s: 0.3, 3, second_order=False
        )
        end = {name: w.detach().requires_grad_() for name, w in path[-1].items()}
        loss = plain_loss(plain_network(batch.query_x[t], end), batch.query_y[t])
        slopes = torch.autograd.grad(loss, list(end.values()))
        for name, slope in zip(end, slopes, strict=True):
            expected[name] += slope / len(batch)
    close(gradients(method, batch), expected)
