"""The interval of a mean over seeds and episodes, both random.

    ȳ ± sqrt( max(t²_ν V_a, t²_{S−1} V_own) + t²_{E−1} V_b )

V_b is the part of episodes; V_a that of seeds, moderated over the block (on ν degrees of freedom);
V_own that of seeds from the method's own S seeds. Each part has its own quantile (Howe 1974,
Graybill & Wang 1980). The moderated interval is right for a block on average, the own one for each
method by itself. The wider of the two is taken, at levels such that the intervals of a block cover
the truth 93 to 97 times in 100, and those of the method that varies most at least 90 times
(measured in benchmarks/power.py).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from metabench.reports.statistics.moderation import Part, Seeds, seed_parts, shared_parts
from metabench.reports.statistics.tables import Block, Moments

LEVEL = 0.95
MODERATED_LEVEL = 0.88
"""Of the interval from moderated variances. The other one adds to the coverage."""


def own_level(df: np.ndarray) -> np.ndarray:
    """Of the interval from a method's own variance: what it covers whatever its neighbours do."""
    return 0.93 - 0.05 / df


@dataclass(frozen=True)
class Estimates:
    """Means of n methods (or camps of them), and what their errors are made of.

    Attributes:
        mean: ``[..., n]``.
        seeds: the variances by seeds.
        apart: as ``seeds``, of what is not shared within a group of ``shared``.
        shared: ``[n]``, groups whose seeds are lucky together; −1 for none.
        episodes: ``[..., n, n]``, the covariance by episodes.
        episode_df: its degrees of freedom.
    """

    mean: np.ndarray
    seeds: Seeds
    apart: Seeds
    shared: np.ndarray
    episodes: np.ndarray
    episode_df: int

    def only(self, rows: Sequence[int] | np.ndarray) -> Estimates:
        """Some of them: their variances stay those that the whole block told."""
        index = np.asarray(rows, dtype=int)
        return Estimates(
            mean=self.mean[..., index],
            seeds=self.seeds.only(index),
            apart=self.apart.only(index),
            shared=self.shared[index],
            episodes=self.episodes[..., index[:, None], index],
            episode_df=self.episode_df,
        )


def estimates(moments: Moments) -> Estimates:
    """One for each method of a block."""
    return Estimates(
        mean=moments.mean,
        seeds=seed_parts(moments),
        apart=shared_parts(moments),
        shared=moments.shared,
        episodes=moments.episodes,
        episode_df=moments.episode_df,
    )


def intervals(block: Block, chances: int = 1) -> dict[str, tuple[float, float]]:
    """Mean and half of the interval's width of each method of a block.

    Where no method has a second seed, nothing is known of other training runs, and the intervals
    are over episodes alone.

    Args:
        block: scores.
        chances: of so many intervals one is looked at because it is the highest.
    """
    moments = block.moments()
    if moments.seeds.max() == 1:
        moments = replace(moments, deterministic=np.ones(len(block.methods), bool))
    found = estimates(moments)
    halves = half_widths(found, chances)
    if block.split_anew:  # all methods have the luck of the same splits: no other tells more of it
        own, tail = found.seeds.own, (1 - LEVEL) / 2 / chances
        shared = np.maximum(found.episodes.diagonal(), 0)  # of episodes that all splits have
        halves = np.sqrt(
            quantile(own.df, tail) ** 2 * own.variance
            + quantile(found.episode_df, tail) ** 2 * shared
        )
    return dict(
        zip(block.methods, zip(found.mean.tolist(), halves.tolist(), strict=True), strict=True)
    )


def for_these_classes(block: Block) -> dict[str, tuple[float, float]]:
    """As :func:`intervals`, if no other classes are of interest than those of the block's splits.

    The mean over splits of means that vary by seeds and episodes alone. Infinite where no split
    has a second seed of a method.
    """
    parts = [estimates(split.moments()) for split in block.by_split()]
    n = len(parts)
    seeds = Seeds(
        *(
            functools.reduce(operator.add, (Part(p.variance / n**2, p.df) for p in of_splits))
            for of_splits in zip(
                *((part.seeds.moderated, part.seeds.own) for part in parts), strict=True
            )
        )
    )
    found = replace(
        parts[0],
        mean=np.mean([part.mean for part in parts], axis=0),
        seeds=seeds,
        episodes=_episodes_here(block),
        episode_df=n * parts[0].episode_df,
    )
    pairs = zip(found.mean.tolist(), half_widths(found).tolist(), strict=True)
    return dict(zip(block.methods, pairs, strict=True))


def _episodes_here(block: Block) -> np.ndarray:
    """Covariance ``[k, k]`` by episodes of means over the splits that there are."""
    if not block.split_anew:
        return block.moments().episodes
    shared = set(range(len(block.sets))) - block.nested
    found = np.zeros((len(block.methods), len(block.methods)))
    if shared:
        found += replace(block.of_sets(shared), splits=()).moments().episodes
    if block.nested:
        own = [split.moments().episodes for split in block.of_sets(block.nested).by_split()]
        found += np.sum(own, axis=0) / len(own) ** 2
    return found


def half_widths(found: Estimates, chances: int = 1) -> np.ndarray:
    """``[..., n]``: half of each interval's width; infinite if no method has a second seed.

    As in comparisons, a method's own variance counts at the level of a single interval. The highest
    of many is often one that varies more than others: then moderated variances count at LEVEL.
    """
    own = found.seeds.own
    known = np.where(np.isinf(own.variance), 0, own.variance)  # one seed: by its neighbours
    seeds = Seeds(found.seeds.moderated, Part(known, own.df))
    level = MODERATED_LEVEL if chances == 1 else LEVEL
    tails = ((1 - level) / 2 / chances, (1 - own_level(own.df)) / 2)
    variance = np.maximum(np.einsum("...ii->...i", found.episodes), 0)
    return combine(seeds, variance, found.episode_df, tails, (1 - LEVEL) / 2 / chances)


def combine(
    seeds: Seeds,
    episodes: np.ndarray,
    episode_df: int,
    tails: tuple[float | np.ndarray, float | np.ndarray],
    episode_tail: float | np.ndarray,
) -> np.ndarray:
    """Half of an interval's width from its parts.

    Args:
        seeds: the variances by seeds.
        episodes: the variance by episodes.
        episode_df: its degrees of freedom.
        tails: probability beyond one end, of the moderated and of the own interval.
        episode_tail: the same for the episodes' part.
    """
    by_seeds = [
        quantile(part.df, tail) ** 2 * part.variance
        for part, tail in zip((seeds.moderated, seeds.own), tails, strict=True)
    ]
    return np.sqrt(np.maximum(*by_seeds) + quantile(episode_df, episode_tail) ** 2 * episodes)


def quantile(df: np.ndarray | float, tail: float | np.ndarray) -> np.ndarray:
    """Of Student's t, with ``tail`` above it."""
    return np.asarray(-special.stdtrit(np.minimum(df, 1e6), tail))
