"""SNAIL: causality, and the two-stream form against one plain sequence per query."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metabench.files import InputError
from metabench.methods.model.snail import SNAIL, AttentionBlock, DenseBlock, SNAILSettings
from tests.methods.small import WAYS, build, episodes


def snail() -> SNAIL:
    method = build(SNAIL, SNAILSettings(filters=4, keys=5, values=3, length=6))
    return method.requires_grad_(False)


def slow_dense(block: DenseBlock, x: Tensor) -> Tensor:
    """The block on one sequence ``[L, C]``, position by position."""
    rows = []
    for t, item in enumerate(x):
        z = block.here(item)
        if t >= block.dilation:
            z = z + block.before(x[t - block.dilation])
        value, gate = z.chunk(2)
        rows.append(torch.cat([item, value.tanh() * gate.sigmoid()]))
    return torch.stack(rows)


def slow_attention(block: AttentionBlock, x: Tensor) -> Tensor:
    """The block on one sequence ``[L, C]``, position by position."""
    q, k, v = block.projection(x).split(block.sizes, dim=-1)
    rows = []
    for t, item in enumerate(x):
        weights = torch.stack([q[t] @ k[i] for i in range(t + 1)]) / block.sizes[0] ** 0.5
        rows.append(torch.cat([item, weights.softmax(0) @ v[: t + 1]]))
    return torch.stack(rows)


def test_each_query_is_answered_as_the_last_item_of_a_sequence_of_its_own():
    method, batch = snail(), episodes(support=7)
    logits = method.predict(batch)
    embedded = batch.map(method.embed)
    for t in range(len(batch)):
        names = list(dict.fromkeys(batch.support_y[t].tolist()))
        names += [k for k in range(WAYS) if k not in names]
        labels = torch.eye(WAYS).double()[[names.index(k) for k in batch.support_y[t].tolist()]]
        for q in range(batch.query_x.shape[1]):
            query = torch.cat([embedded.query_x[t, q], torch.zeros(WAYS).double()])
            sequence = torch.cat([embedded.support_x[t], labels], dim=-1)
            sequence = torch.cat([sequence, query[None]])
            for block in method.blocks:
                slow = slow_dense if isinstance(block, DenseBlock) else slow_attention
                sequence = slow(block, sequence)
            expected = method.output(sequence[-1])
            by_name = torch.stack([expected[names.index(k)] for k in range(WAYS)])
            torch.testing.assert_close(logits[t, q], by_name)


@pytest.mark.parametrize(
    "block", [DenseBlock(4, 2, 3).double(), AttentionBlock(4, 5, 3).double()], ids=type
)
def test_no_block_sees_the_future_or_a_query(block):
    g = torch.Generator().manual_seed(0)
    support = torch.randn(1, 6, 4, generator=g, dtype=torch.float64)
    query = torch.randn(1, 3, 4, generator=g, dtype=torch.float64)
    before, answers = block(support, query)
    late = support.clone()
    late[:, 4:] += 1
    torch.testing.assert_close(block(late, query)[0][:, :4], before[:, :4])
    assert not torch.allclose(block(late, query)[1], answers)  # queries come after all support
    other = query.clone()
    other[:, 1:] += 1
    torch.testing.assert_close(block(support, other)[0], before)
    torch.testing.assert_close(block(support, other)[1][:, 0], answers[:, 0])


def test_a_support_longer_than_in_training_is_read():
    method = snail()
    assert method.predict(episodes(support=40)).isfinite().all()


def test_more_ways_than_label_slots_are_refused():
    with pytest.raises(InputError, match="label slots"):
        snail().predict(replace(episodes(), ways=WAYS + 1))
