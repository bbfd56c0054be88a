"""The optimisers of the outer loop, against their published updates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.learning.optimizers import optimizer_of
from metabench.methods.base import Settings
from tests.learning.test_training import Line


def path(settings: Settings, steps: int = 4) -> list[float]:
    """The weight after each step of minimising (w − 3)², from 1."""
    method = Line(settings).double()
    nn.init.ones_(method.weight)
    optimizer, found = optimizer_of(method), []
    for _ in range(steps):
        optimizer.zero_grad()
        (method.weight - 3).square().backward()
        optimizer.step()
        found.append(float(method.weight.detach()))
    return found


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_is_momentum_with_a_decay_that_momentum_does_not_see(decay) -> None:
    w, v, expected = 1.0, 0.0, []
    for _ in range(4):  # Loshchilov & Hutter 2019, algorithm 1
        gradient = 2 * (w - 3)
        v = 0.9 * v + gradient
        w = w - 0.01 * v - 0.01 * decay * w
        expected.append(w)
    found = path(Settings(optimizer="sgd", lr=0.01, weight_decay=decay))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_is_adam_with_a_decay_that_is_not_normalised(decay) -> None:
    w, m, s, expected = 1.0, 0.0, 0.0, []
    for t in range(1, 5):  # the same paper, algorithm 2
        gradient = 2 * (w - 3)
        m, s = 0.9 * m + 0.1 * gradient, 0.999 * s + 0.001 * gradient**2
        step = (m / (1 - 0.9**t)) / ((s / (1 - 0.999**t)) ** 0.5 + 1e-8)
        w = w - 0.01 * step - 0.01 * decay * w
        expected.append(w)
    assert path(Settings(lr=0.01, weight_decay=decay)) == pytest.approx(expected, rel=1e-12)


def test_an_optimizer_goes_on_from_what_it_has_kept() -> None:
    settings = Settings(optimizer="sgd", lr=0.01, weight_decay=0.1)
    method, whole = Line(settings).double(), path(settings, 3)
    nn.init.ones_(method.weight)
    optimizer = optimizer_of(method)
    for step in range(3):
        if step == 2:
            kept, optimizer = optimizer.state_dict(), optimizer_of(method)
            optimizer.load_state_dict(kept)
        optimizer.zero_grad()
        (method.weight - 3).square().backward()
        optimizer.step()
    assert torch.isclose(method.weight, torch.tensor(whole[-1], dtype=torch.double))
