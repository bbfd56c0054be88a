"""A softmax temperature: likelihood then compares methods, and not the scales of their logits.

Accuracy does not change with the scale of logits, so no search by accuracy can find the scale that
makes them probabilities. One number fitted on ``val`` episodes does (Guo et al. 2017, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

WIDEST = math.log(1e4)
"""Temperatures are sought within so many e-folds of the spread of the logits."""


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """``T = argmin Σ_i −log softmax(z_i/T)_{y_i}``, which is convex in 1/T.

    As in Platt's scaling (1999), a label counts as ``(N·onehot + K·uniform)/(N + K)``, so T is
    above 0 where every query is answered rightly, too. T of ``c z`` is c times T of ``z``.

    Args:
        logits: ``[..., K]`` of N queries.
        labels: ``[...]``.

    Returns:
        1 where all logits of a query are the same in all queries, so that no scale matters.
    """
    from scipy.optimize import minimize_scalar  # half a second, and only evaluation fits

    z, y = logits.flatten(0, -2).double(), labels.flatten()
    z = z - z.mean(-1, keepdim=True)
    spread = float(z.square().mean().sqrt())
    if spread == 0:
        return 1.0
    z = z / spread
    count, ways = z.shape
    # the uniform part of a label adds nothing: centred logits have mean 0
    of_labels = float(z.gather(-1, y[:, None]).mean()) * count / (count + ways)

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float(torch.logsumexp(inverse * z, -1).mean()) - inverse * of_labels

    found = minimize_scalar(
        loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-7}
    )
    return spread * math.exp(found.x)


def temperature_for(forms: Mapping[tuple[int, int], float], ways: int, shots: int) -> float:
    """The temperature for a setting: of the same shots and the most ways up to its own.

    Args:
        forms: temperatures by ``(ways, shots)`` of the ``val`` episodes they were fitted on.

    Returns:
        NaN where there is none: logits stay as they are.
    """
    fitting = [form for form in forms if form[1] == shots and form[0] <= ways]
    return forms[max(fitting)] if fitting else math.nan
