"""CNP: a deep set, against a loop over examples (Garnelo et al. 2018, eq. 2-4, 4.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.files import InputError
from metabench.methods.model.cnp import CNP
from metabench.methods.parts.neural_process import NeuralProcessSettings
from tests.methods.model.plain import Arrays, arrays, by_name, feature, perceptron, slots
from tests.methods.small import WAYS, build, check_slopes, episodes


def cnp(regression: bool = False) -> CNP:
    return build(CNP, NeuralProcessSettings(width=6), outputs=int(regression))


def slow_gaussian(
    p: Arrays, support: np.ndarray, y: np.ndarray, x: np.ndarray
) -> tuple[float, float]:
    """Mean and deviation of one query of one regression task."""
    r = np.zeros(6)
    for x_i, y_i in zip(support, y, strict=True):
        r += perceptron(p, "h", 2, np.concatenate([feature(p, x_i), y_i])) / len(support)
    mean, raw = perceptron(p, "g", 3, np.concatenate([feature(p, x), r]))
    return mean, 0.1 + 0.9 * np.log(1 + np.exp(raw))


def test_classification_decodes_the_concatenated_class_means():
    method, batch = cnp(), episodes()
    p, logits = arrays(method), method.predict(batch).detach()
    for t in range(len(batch)):
        labels, means = batch.support_y[t].tolist(), []
        for name in slots(labels):
            own = [x for x, k in zip(batch.support_x[t].numpy(), labels, strict=True) if k == name]
            codes = [perceptron(p, "h", 2, feature(p, x)) for x in own]
            means.append(sum(codes) / len(codes) if codes else np.zeros(6))
        for q, x in enumerate(batch.query_x[t].numpy()):
            expected = perceptron(p, "g", 3, np.concatenate([feature(p, x), *means]))
            np.testing.assert_allclose(logits[t, q], by_name(expected, labels), rtol=1e-9)


def test_regression_decodes_the_mean_of_the_encoded_pairs_and_learns_by_likelihood():
    method, batch = cnp(regression=True), episodes(regression=True)
    p, answers, loss = arrays(method), method.predict(batch).detach(), 0.0
    for t in range(len(batch)):
        support, y = batch.support_x[t].numpy(), batch.support_y[t].numpy()
        for q, x in enumerate(batch.query_x[t].numpy()):
            mean, deviation = slow_gaussian(p, support, y, x)
            assert answers[t, q].item() == pytest.approx(mean, rel=1e-9)
            density = np.exp(-(((batch.query_y[t, q].item() - mean) / deviation) ** 2) / 2)
            loss -= np.log(density / (deviation * np.sqrt(2 * np.pi))) / answers.numel()
    assert method.loss(batch, 0.0).item() == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("regression", [False, True])
def test_the_training_gradient_equals_finite_differences(regression):
    method, batch = cnp(regression), episodes(regression=regression)
    check_slopes(method, lambda: method.loss(batch, 0.0))


@pytest.mark.parametrize("regression", [False, True])
def test_the_order_of_the_support_is_nothing_and_queries_do_not_see_each_other(regression):
    method, batch = cnp(regression), episodes(regression=regression)
    if not regression:  # each class appears, in the same order, in both
        y = torch.tensor([0, 1, 2, 0, 1, 2]).expand(2, -1)
        batch = replace(batch, support_y=y)
    order = torch.tensor([0, 1, 2, 4, 5, 3])
    other = replace(
        batch,
        support_x=batch.support_x[:, order],
        support_y=batch.support_y[:, order],
        query_x=batch.query_x[:, :1],
        query_y=batch.query_y[:, :1],
    )
    torch.testing.assert_close(method.predict(other), method.predict(batch)[:, :1])


def test_more_ways_than_label_slots_are_refused():
    with pytest.raises(InputError, match="label slots"):
        cnp().predict(replace(episodes(), ways=WAYS + 1))
