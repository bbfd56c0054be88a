"""Metrics, against scikit-learn; and what is refused of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch import Tensor

from metabench.files import InputError
from metabench.learning.metrics import METRICS, classification, measure, regression

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(4, 30, 3, generator=GENERATOR)
LABELS = torch.randint(3, (4, 30), generator=GENERATOR)


def episodes(of_one) -> Tensor:
    """``of_one(labels, answers, probabilities)`` of each episode by itself."""
    parts = zip(LABELS, LOGITS.argmax(-1), LOGITS.double().softmax(-1), strict=True)
    return torch.tensor([of_one(*map(Tensor.numpy, part)) for part in parts]).double()


def brier(labels, _, probabilities) -> float:
    return float(((np.eye(3)[labels] - probabilities) ** 2).sum(1).mean())


@pytest.mark.parametrize(
    ("name", "of_one"),
    [
        ("accuracy", lambda labels, answers, _: sklearn.accuracy_score(labels, answers)),
        ("nll", lambda labels, _, probabilities: sklearn.log_loss(labels, probabilities)),
        ("brier", brier),
        ("macro_f1", lambda labels, answers, _: sklearn.f1_score(labels, answers, average="macro")),
    ],
)
def test_a_metric_of_classification_is_that_of_each_episode(name, of_one) -> None:
    found = measure((), [name], LOGITS, LABELS)[name]
    torch.testing.assert_close(found.double(), episodes(of_one), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "of_one"),
    [("mse", sklearn.mean_squared_error), ("mae", sklearn.mean_absolute_error)],
)
def test_a_metric_of_regression_is_that_of_each_episode(name, of_one) -> None:
    targets = LOGITS.flip(1)
    expected = [of_one(t.numpy(), p.numpy()) for t, p in zip(targets, LOGITS, strict=True)]
    found = measure((), [name], LOGITS, targets)[name]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)


def test_constant_logits_score_chance() -> None:
    assert classification.accuracy(torch.zeros(4, 30, 3), LABELS)["accuracy"].tolist() == (
        pytest.approx([1 / 3] * 4)
    )


def test_what_is_always_measured_is_not_measured_twice() -> None:
    for module, truth in ((classification, LABELS), (regression, LOGITS.flip(1))):
        names = [metric.__name__ for metric in module.ALWAYS if metric.__name__ in METRICS.names()]
        assert list(measure(module.ALWAYS, names, LOGITS, truth)) == list(
            measure(module.ALWAYS, (), LOGITS, truth)
        )


def one_for_each_query(logits, labels):
    return {"right": (logits.argmax(-1) == labels).double()}


def a_number(logits, labels):
    return {"right": 0.5}


def of_a_taken_name(logits, labels):
    return {"nll": labels.double().mean(1)}


def failing(logits, labels):
    return {"right": logits @ labels}


NO_METRIC = 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_for_each_query", r"right is of shape \(4, 30\). Return one number for each episode"),
        ("a_number", r"right is of shape \(\)"),
        ("of_a_taken_name", "nll is another metric's"),
        ("failing", "RuntimeError"),
        ("NO_METRIC", "is no instance of collections.abc:Callable"),
        ("absent", "cannot load"),
    ],
)
def test_a_function_that_is_no_metric_is_refused_by_name(name, message) -> None:
    with pytest.raises(InputError, match=f"metric '{__name__}:{name}': .*{message}"):
        measure(classification.ALWAYS, [f"{__name__}:{name}"], LOGITS, LABELS)
