"""ANP: cross-attention from each query to the support, against a loop (Kim et al. 2019, 3.2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.methods.model.anp import ANP, ANPSettings
from tests.methods.model.plain import (
    Arrays,
    arrays,
    by_name,
    feature,
    linear,
    one_hot,
    perceptron,
    softmax,
)
from tests.methods.small import build, check_slopes, episodes

HEADS, SIZE = 2, 3


def anp(regression: bool) -> ANP:
    settings = ANPSettings(width=HEADS * SIZE, heads=HEADS)
    return build(ANP, settings, outputs=int(regression))


def slow_outputs(p: Arrays, support: np.ndarray, labels: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``g(x*, r*(x*))`` of one query."""
    f, query = feature(p, x), linear(p, "address", feature(p, x))
    r = np.zeros(HEADS * SIZE)
    for head in range(HEADS):
        own = slice(head * SIZE, (head + 1) * SIZE)
        scores, values = [], []
        for x_i, y_i in zip(support, labels, strict=True):
            key = linear(p, "address", feature(p, x_i))
            scores.append(query[own] @ key[own] / np.sqrt(SIZE))
            values.append(perceptron(p, "h", 2, np.concatenate([feature(p, x_i), y_i]))[own])
        for weight, value in zip(softmax(np.array(scores)), values, strict=True):
            r[own] += weight * value
    return perceptron(p, "g", 3, np.concatenate([f, r]))


@pytest.mark.parametrize("regression", [False, True])
def test_answers_equal_a_loop_over_queries_heads_and_examples(regression):
    method, batch = anp(regression), episodes(regression=regression)
    p, answers = arrays(method), method.predict(batch).detach()
    for t in range(len(batch)):
        y = batch.support_y[t].tolist()
        labels = np.array(y) if regression else one_hot(y)
        for q, x in enumerate(batch.query_x[t].numpy()):
            expected = slow_outputs(p, batch.support_x[t].numpy(), labels, x)
            expected = expected[:1] if regression else by_name(expected, y)
            np.testing.assert_allclose(answers[t, q], expected, rtol=1e-9)


@pytest.mark.parametrize("regression", [False, True])
def test_the_training_gradient_equals_finite_differences(regression):
    method, batch = anp(regression), episodes(regression=regression)
    check_slopes(method, lambda: method.loss(batch, 0.0))


@pytest.mark.parametrize("regression", [False, True])
def test_queries_do_not_see_each_other(regression):
    method, batch = anp(regression), episodes(regression=regression)
    changed = batch.query_x.clone()
    changed[:, 1:] += 1
    torch.testing.assert_close(
        method.predict(replace(batch, query_x=changed))[:, 0], method.predict(batch)[:, 0]
    )
