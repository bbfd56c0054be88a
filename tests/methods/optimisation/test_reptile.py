"""Reptile: its gradient is the way from where k steps lead back to the start."""

from __future__ import annotations

import copy

import pytest
import torch

from metabench.methods.optimisation.reptile import Reptile, ReptileSettings
from tests.methods.small import build, close, episodes, gradients, plain_loss, plain_weights


@pytest.mark.parametrize("regression", [False, True])
def test_the_gradient_is_the_mean_over_tasks_of_start_minus_end(regression):
    """Each task by itself: a ``torch.nn`` network trained by ``torch.optim.SGD``."""
    settings = ReptileSettings(inner_lr=0.2, steps=4)
    method, batch = (
        build(Reptile, settings, outputs=int(regression)),
        episodes(regression=regression),
    )
    start = plain_weights(method)
    hidden, head = method.backbone.layers[0], start["head.weight"]
    network = torch.nn.Sequential(
        torch.nn.Linear(hidden.in_features, hidden.out_features),
        torch.nn.ReLU(),
        torch.nn.Linear(head.shape[1], head.shape[0]),
    ).double()
    names = ["backbone.layers.0.weight", "backbone.layers.0.bias", "head.weight", "head.bias"]
    with torch.no_grad():
        for parameter, name in zip(network.parameters(), names, strict=True):
            parameter.copy_(start[name])
    expected = {name: torch.zeros_like(p) for name, p in method.named_parameters()}
    for t in range(len(batch)):
        learner = copy.deepcopy(network)
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.2)
        x = torch.cat([batch.support_x[t], batch.query_x[t]])
        y = torch.cat([batch.support_y[t], batch.query_y[t]])
        for _ in range(4):
            optimizer.zero_grad()
            plain_loss(learner(x), y).backward()
            optimizer.step()
        for name, end in zip(names, learner.parameters(), strict=True):
            expected[name] += (start[name] - end).detach() / len(batch)
    close(gradients(method, batch), expected)


def test_the_value_of_the_loss_is_that_after_adaptation():
    method, batch = build(Reptile, ReptileSettings(inner_lr=0.2, steps=4)), episodes()
    longer = build(Reptile, ReptileSettings(inner_lr=0.2, steps=40))
    assert longer.outer_loss(batch, 0.0) < method.outer_loss(batch, 0.0)
