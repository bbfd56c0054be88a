"""Scores drawn one by one, as the model of ``metabench.reports.statistics.tables`` has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def scores(
    truth: Sequence[float],
    draw: np.random.Generator,
    seeds: int = 4,
    episodes: int = 200,
    scatter: float | Sequence[float] = 0.015,
) -> np.ndarray:
    """``[methods, seeds, episodes]`` in shares of 1; ``scatter`` is by how much seeds vary.

    Episodes vary by 0.10 for all and by 0.05 for each method, single scores by 0.08 more.
    """
    k = len(truth)
    luck = draw.normal(0, 1, (k, seeds, 1)) * np.broadcast_to(scatter, k)[:, None, None]
    ease = draw.normal(0, 0.1, episodes) + draw.normal(0, 0.05, (k, 1, episodes))
    rest = draw.normal(0, 0.08, (k, seeds, episodes))
    return np.asarray(truth)[:, None, None] + luck + ease + rest
