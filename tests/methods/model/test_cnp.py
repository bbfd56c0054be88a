"""CNP: a deep set, against a loop over tasks and examples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metabench.files import InputError
from metabench.methods.model.cnp import CNP
from metabench.methods.parts.neural_process import NeuralProcessSettings
from tests.methods.small import WAYS, build, episodes


def cnp(regression: bool = False) -> CNP:
    method = build(CNP, NeuralProcessSettings(width=6), outputs=int(regression))
    return method.requires_grad_(False)


def test_classification_decodes_the_concatenated_class_means():
    method, batch = cnp(), episodes()
    logits, embedded = method.predict(batch), batch.map(method.embed)
    for t in range(len(batch)):
        labels = batch.support_y[t].tolist()
        names = list(dict.fromkeys(labels))
        names += [k for k in range(WAYS) if k not in names]
        means = []
        for name in names:
            codes = [
                method.h(x) for x, k in zip(embedded.support_x[t], labels, strict=True) if k == name
            ]
            means.append(sum(codes) / len(codes) if codes else torch.zeros(6).double())
        for q, x in enumerate(embedded.query_x[t]):
            expected = method.g(torch.cat([x, *means]))
            by_name = torch.stack([expected[names.index(k)] for k in range(WAYS)])
            torch.testing.assert_close(logits[t, q], by_name)


def test_regression_decodes_the_mean_of_the_encoded_pairs():
    method, batch = cnp(regression=True), episodes(regression=True)
    answers, embedded = method.predict(batch), batch.map(method.embed)
    for t in range(len(batch)):
        pairs = zip(embedded.support_x[t], batch.support_y[t], strict=True)
        codes = [method.h(torch.cat([x, y])) for x, y in pairs]
        for q, x in enumerate(embedded.query_x[t]):
            expected = method.g(torch.cat([x, sum(codes) / len(codes)]))[:1]
            torch.testing.assert_close(answers[t, q], expected)


def test_the_regression_loss_is_the_gaussian_negative_log_likelihood():
    method, batch = cnp(regression=True), episodes(regression=True)
    mean, deviation = method.gaussian(batch.map(method.embed))
    errors = (batch.query_y - mean) / deviation
    expected = 0.5 * errors.square() + deviation.log() + 0.5 * torch.log(torch.tensor(2 * torch.pi))
    torch.testing.assert_close(method.loss(batch, 0.0), expected.mean())
    assert (deviation >= 0.1).all()


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
