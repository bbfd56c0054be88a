"""SNAIL: causality, and the two-stream form against one plain sequence per query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.files import InputError
from metabench.methods.model.snail import SNAIL, AttentionBlock, DenseBlock, SNAILSettings
from tests.methods.model.plain import (
    Arrays,
    arrays,
    by_name,
    feature,
    linear,
    one_hot,
    sigmoid,
    softmax,
)
from tests.methods.small import WAYS, build, check_slopes, episodes


def snail() -> SNAIL:
    return build(SNAIL, SNAILSettings(filters=4, keys=5, values=3, length=6))


def slow_dense(p: Arrays, block: str, dilation: int, x: list[np.ndarray]) -> list[np.ndarray]:
    """``[x_t, tanh(conv_f) ∘ σ(conv_g)]``, two taps each, position by position."""
    rows = []
    for t, item in enumerate(x):
        z = linear(p, f"{block}.here", item)
        if t >= dilation:
            z = z + p[f"{block}.before.weight"] @ x[t - dilation]
        rows.append(np.concatenate([item, np.tanh(z[:4]) * sigmoid(z[4:])]))
    return rows


def slow_attention(p: Arrays, block: str, keys: int, x: list[np.ndarray]) -> list[np.ndarray]:
    """``[x_t, Σ_{i ≤ t} softmax_i(q_t·k_i / √K) v_i]``, position by position."""
    made = [np.split(linear(p, f"{block}.projection", item), [keys, 2 * keys]) for item in x]
    rows = []
    for t, item in enumerate(x):
        scores = [made[t][0] @ made[i][1] / np.sqrt(keys) for i in range(t + 1)]
        weights = softmax(np.array(scores))
        rows.append(np.concatenate([item, sum(weights[i] * made[i][2] for i in range(t + 1))]))
    return rows


def slow_logits(p: Arrays, sequence: list[np.ndarray]) -> np.ndarray:
    """The paper's classifier on one sequence; three dilations span ``length``, 6 examples."""
    convolutions = [(slow_dense, dilation) for dilation in (1, 2, 4)]
    blocks = [(slow_attention, 5), *convolutions, (slow_attention, 10), *convolutions]
    for i, (slow, size) in enumerate([*blocks, (slow_attention, 20)]):
        sequence = slow(p, f"blocks.{i}", size, sequence)
    assert len(sequence[-1]) == 7 + WAYS + 3 + 12 + 6 + 12 + 12  # nothing is dropped on the way
    return linear(p, "output", sequence[-1])


def test_each_query_is_answered_as_the_last_item_of_a_sequence_of_its_own():
    method, batch = snail(), episodes(support=7)
    p, logits = arrays(method), method.predict(batch).detach()
    for t in range(len(batch)):
        labels = batch.support_y[t].tolist()
        items = zip(batch.support_x[t].numpy(), one_hot(labels), strict=True)
        support = [np.concatenate([feature(p, x), y]) for x, y in items]
        for q, x in enumerate(batch.query_x[t].numpy()):
            query = np.concatenate([feature(p, x), np.zeros(WAYS)])
            expected = slow_logits(p, [*support, query])
            np.testing.assert_allclose(logits[t, q], by_name(expected, labels), rtol=1e-9)


def test_the_training_gradient_equals_finite_differences():
    method, batch = snail(), episodes()

    def loss() -> torch.Tensor:
        torch.manual_seed(0)  # the support is read in random order
        return method.loss(batch, 0.0)

    check_slopes(method, loss)


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
