"""Scores of an episode of classification: from logits ``[T, Q, K]`` and labels ``[T, Q]``."""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import cross_entropy, one_hot

BINS = 15
"""Equal bins of confidence over [0, 1] (Guo et al. 2017)."""


def accuracy(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Share of queries that are answered rightly."""
    return {"accuracy": _correct(logits, labels).mean(1)}


def nll(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Negative log-likelihood of the labels, in nats a query."""
    return {"nll": cross_entropy(logits.double(), labels, reduction="none").mean(1)}


def brier(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Squared distance between predicted distribution and label (Brier 1950), 0 to 2."""
    probabilities = logits.double().softmax(-1)
    target = one_hot(labels, logits.shape[-1], probabilities)
    return {"brier": (probabilities - target).square().sum(-1).mean(1)}


def macro_f1(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """F1 of each class, their mean; a class with neither queries nor answers counts as 0."""
    ways = logits.shape[-1]
    asked = one_hot(labels, ways, logits.double())
    answered = one_hot(logits.argmax(-1), ways, asked)
    both, total = (asked * answered).sum(1), (asked + answered).sum(1)
    return {"macro_f1": (2 * both / total.clamp(min=1)).mean(-1)}


def confidence_bins(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Sums over the queries by bin of confidence ``[T, BINS]``: number, correct, confidence.

    From them any calibration figure can be had later without running again.
    """
    probabilities = logits.double().softmax(-1)
    confidence = probabilities.max(-1).values
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    member = one_hot(bins, BINS, probabilities)  # [T, Q, BINS]
    return {
        "bin_count": member.sum(1).long(),
        "bin_correct": (member * _correct(logits, labels)[..., None]).sum(1),
        "bin_confidence": (member * confidence[..., None]).sum(1),
    }


ALWAYS = (accuracy, nll, brier, confidence_bins)
"""What every result holds. The first is what methods are compared by."""


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """``[T, Q]``: 1 where the top class is the label's, 0 where not.

    A tie between classes counts as correct with probability one over the number of tied classes, so
    that constant logits score chance and not the share of class 0.
    """
    logits = logits.double()
    top = logits == logits.max(-1, keepdim=True).values
    return top.gather(-1, labels[..., None])[..., 0] / top.sum(-1)
