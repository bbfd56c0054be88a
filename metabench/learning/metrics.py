"""Scores of an episode: accuracy, likelihood, Brier score, calibration terms, squared error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metabench.episodes import cross_entropy, one_hot

BINS = 15
"""Equal bins of confidence over [0, 1] (Guo et al. 2017)."""


def classification_scores(logits: Tensor, labels: Tensor) -> pd.DataFrame:
    """One row per task from logits ``[T, Q, K]`` and labels ``[T, Q]``.

    ``bin_*`` are sums over the task's queries by confidence bin: number, correct, confidence; from
    them any calibration figure can be had later without running again. A tie between classes counts
    as correct with probability one over the number of tied classes, so that constant logits score
    chance and not the share of class 0.
    """
    logits = logits.double()
    probabilities = logits.softmax(-1)
    confidence = probabilities.max(-1).values
    top = logits == logits.max(-1, keepdim=True).values
    correct = top.gather(-1, labels[..., None])[..., 0] / top.sum(-1)
    target = one_hot(labels, logits.shape[-1], probabilities)
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    member = one_hot(bins, BINS, probabilities)  # [T, Q, BINS]
    return pd.DataFrame(
        {
            "value": correct.mean(1).cpu(),
            "nll": cross_entropy(logits, labels, reduction="none").mean(1).cpu(),
            "brier": (probabilities - target).square().sum(-1).mean(1).cpu(),
            "bin_count": _rows(member.sum(1).long()),
            "bin_correct": _rows((member * correct[..., None]).sum(1)),
            "bin_confidence": _rows((member * confidence[..., None]).sum(1)),
        }
    )


def regression_scores(outputs: Tensor, targets: Tensor) -> pd.DataFrame:
    """Mean squared error of each task from ``[T, Q, D]``; probabilistic columns stay empty."""
    error = (outputs - targets).double().square().flatten(1).mean(1).cpu().numpy()
    empty: list[np.ndarray] = [np.array([])] * len(error)
    return pd.DataFrame(
        {
            "value": error,
            "nll": np.nan,
            "brier": np.nan,
            "bin_count": empty,
            "bin_correct": empty,
            "bin_confidence": empty,
        }
    )


def _rows(values: Tensor) -> list[np.ndarray]:
    return list(torch.atleast_2d(values).cpu().numpy())
