"""What a board can detect, and what more data would decide.

A difference δ is found when ``best − method`` exceeds half of its interval, so with probability 0.8
if δ = half + t₀.₈ · error. :func:`detectable` says the δ of which that holds on average over the
methods of a block; it holds for differences against the best of a family, at once.

For what is undecided, :func:`data_to_decide` asks the same of more data: variances by seeds shrink
with their number and their degrees of freedom grow, those by episodes with theirs, and the
difference is taken to be what it is now.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from metabench.reports.statistics.comparisons import Comparison, Difference
from metabench.reports.statistics.intervals import quantile
from metabench.reports.statistics.moderation import Part, Seeds

POWER = 0.8
BISECTIONS = 40
MOST_SEEDS = 100
"""More learners than this are no answer; more episodes may be."""

MOST_EPISODES = 64
"""Times as many, at most."""


def detectable(compared: Comparison) -> np.ndarray:
    """``[...]``: the difference that is found 8 times in 10, on average over a block's methods.

    Infinite if no pair can be told apart. With few seeds the intervals are of very different width,
    and what the median one finds 8 times in 10, all together find 7 times.
    """
    gap = compared.difference
    n = gap.mean.shape[-1]
    half, error = gap.half(n), _error(gap)
    asked = (np.arange(n) != compared.best[..., None]) & np.isfinite(half)
    scale = np.where(asked, np.maximum(np.sqrt(error.variance), 1e-12), 1.0)
    low = np.zeros(compared.best.shape)
    high = np.max(half + _reach(gap), axis=-1, where=asked, initial=0.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found = special.stdtr(error.df, (middle[..., None] - half) / scale)
        enough = np.mean(found, axis=-1, where=asked | ~asked.any(-1, keepdims=True)) >= POWER
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(asked.any(-1), high, np.inf)


def data_to_decide(
    compared: Comparison, seeds: int, margin: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Seeds, and times as many episodes, with which each method would be tied or behind.

    Args:
        compared: of ``n`` methods.
        seeds: that it has.
        margin: as it was compared with.

    Returns:
        ``[..., n]`` each; infinite where ``MOST_SEEDS`` and ``MOST_EPISODES`` decide nothing, the
        seeds that there are and 1 where a method is tied or behind already.
    """
    gap = compared.difference
    undecided = ~(compared.tied | compared.behind)
    need = np.where(undecided, np.inf, float(seeds))
    times = np.where(undecided, np.inf, 1.0)
    counts = np.arange(max(seeds, 2), MOST_SEEDS + 1.0).reshape(-1, *[1] * gap.mean.ndim)
    for factor in 2 ** np.arange(np.log2(MOST_EPISODES) + 1):
        more = _scaled(gap, seeds, counts, factor)
        reach = more.half(gap.mean.shape[-1]) + _reach(more)
        decided = (gap.mean > reach) | (gap.mean + reach <= margin)
        now = np.isinf(need) & decided.any(0)
        first = counts.ravel()[decided.argmax(0)]
        need, times = np.where(now, first, need), np.where(now, factor, times)
    return need, times


def _error(difference: Difference) -> Part:
    """The variance of an estimated difference."""
    episodes = Part(difference.episodes, np.asarray(float(difference.episode_df)))
    return difference.seeds.moderated + episodes


def _reach(difference: Difference) -> np.ndarray:
    """What an estimate strays below the truth in a fifth of the cases."""
    error = _error(difference)
    return np.sqrt(error.variance) * quantile(error.df, 1 - POWER)


def _scaled(difference: Difference, seeds: int, count: np.ndarray, factor: float) -> Difference:
    """As it would be with ``count`` seeds and ``factor`` times as many episodes."""
    parts = difference.seeds
    own = np.where(np.isinf(parts.own.variance), parts.moderated.variance, parts.own.variance)
    grown = (count - 1) / max(seeds - 1, 1)
    scaled = Seeds(
        Part(parts.moderated.variance * seeds / count, parts.moderated.df * grown),
        Part(own * seeds / count, parts.own.df * grown),
    )
    return replace(difference, seeds=scaled, episodes=difference.episodes / factor)
