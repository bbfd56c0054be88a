"""The in-context transformer: who sees whom, and that it learns to learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metabench.files import InputError
from metabench.methods.model.icl_transformer import ICLTransformer, hidden
from metabench.methods.parts.transformer import TransformerSettings
from tests.methods.small import DIM, WAYS, build, episodes

SETTINGS = TransformerSettings(width=16, layers=2, heads=2)


def transformer() -> ICLTransformer:
    return build(ICLTransformer, SETTINGS).requires_grad_(False)


def test_support_sees_support_and_a_query_sees_support_and_itself():
    allowed = ~hidden(2, 3, torch.zeros(1))
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 0, 1]]
    assert allowed.int().tolist() == expected


def test_a_query_is_answered_as_if_it_were_alone():
    method, batch = transformer(), episodes()
    logits = method.predict(batch)
    for q in range(batch.query_x.shape[1]):
        alone = replace(batch, query_x=batch.query_x[:, q : q + 1])
        torch.testing.assert_close(method.predict(alone), logits[:, q : q + 1])


def test_no_gradient_flows_from_a_query_to_another_or_through_the_support():
    method, batch = transformer(), episodes()
    x = batch.query_x.clone().requires_grad_()
    features = replace(batch, query_x=x).map(method.embed)
    (slope,) = torch.autograd.grad(method.classify(features)[:, 0].square().sum(), x)
    assert slope[:, 0].abs().max() > 0
    assert torch.equal(slope[:, 1:], torch.zeros_like(slope[:, 1:]))


def test_the_order_of_the_support_is_nothing():
    method, batch = transformer(), episodes()
    batch = replace(batch, support_y=torch.tensor([0, 1, 2, 0, 1, 2]).expand(2, -1))
    order = torch.tensor([0, 1, 2, 4, 5, 3])  # first appearances stay in order
    other = replace(batch, support_x=batch.support_x[:, order], support_y=batch.support_y[:, order])
    torch.testing.assert_close(method.predict(other), method.predict(batch))


def test_it_learns_to_classify_from_context():
    """Fresh random prototypes in every episode: nothing but the context tells the classes."""
    method = build(ICLTransformer, TransformerSettings(width=32, layers=1, heads=2)).float()
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)

    def draw(seed: int, tasks: int):
        g = torch.Generator().manual_seed(seed)
        batch = episodes(tasks=tasks, support=6, queries=6)
        prototypes = torch.randn(tasks, WAYS, DIM, generator=g)
        sy = torch.arange(WAYS).repeat(tasks, 2)
        qy = torch.randint(WAYS, (tasks, 6), generator=g)
        rows = torch.arange(tasks)[:, None]
        noise = 0.1 * torch.randn(tasks, 12, DIM, generator=g)
        return replace(
            batch,
            support_x=prototypes[rows, sy] + noise[:, :6],
            query_x=prototypes[rows, qy] + noise[:, 6:],
            support_y=sy,
            query_y=qy,
        )

    for step in range(250):
        optimizer.zero_grad()
        method.loss(draw(step, 16), 0.0).backward()
        optimizer.step()
    test = draw(10_000, 200)
    accuracy = (method.predict(test).argmax(-1) == test.query_y).double().mean()
    assert accuracy > 0.8


def test_more_ways_than_label_slots_are_refused():
    with pytest.raises(InputError, match="label slots"):
        transformer().predict(replace(episodes(), ways=WAYS + 1))
