"""Each method against the best: *tied*, *behind* or *undecided*.

The best is chosen by the data that test it. So intervals of the differences hold for all pairs of
the n methods at once, whichever two are looked at (Šidák over n (n − 1)/2 pairs, each with its own
degrees of freedom: Tamhane 1979, T2). From the interval of ``best − method``:

- *tied*: it lies inside ± margin (two one-sided tests, Schuirmann 1987);
- *behind*: it lies above zero, or the step-down test below says so;
- *undecided*: neither. Not significant is not equal.

Step-down: the methods that are behind are taken out, and the rest compared as a smaller family. A
method that is as good as the best is called behind only if it was in some family that contained
all its peers, of which n is the size at least; so the errors of all steps together stay below the
level (Romano & Wolf 2005).

As for means, a difference is no smaller than the two methods' own variances allow: by moderated
variances a family of 45 can decide with three seeds; by its own ones, each pair must decide too,
nearly at the level of a single comparison (Welch 1947). Levels are lower where the degrees of
freedom of a pair's own variance are few (:func:`family_tail`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metabench.reports.statistics.intervals import Estimates, combine
from metabench.reports.statistics.moderation import Part, Seeds

MARGIN = 0.01
"""Of accuracy: differences inside it are of no account."""

RELATIVE_MARGIN = 0.05
"""Of the best error, for regression."""

FAMILY_LEVEL = 0.047
"""Of all comparisons of a family at once, if variances by seeds were known."""

OWN_LEVEL = 0.03
"""Of the interval by own variances, in a family of five or more."""


@dataclass(frozen=True)
class Difference:
    """``first − others``: ``mean`` ``[..., n]``, and its variances by seeds and by episodes.

    ``families`` is the number of such families that are looked at together.
    """

    mean: np.ndarray
    seeds: Seeds
    episodes: np.ndarray
    episode_df: int
    families: int = 1

    def half(self, family: int | np.ndarray, tries: float | np.ndarray = 1) -> np.ndarray:
        """Half of the interval's width, as one of all pairs of ``family`` methods.

        ``tries``: the end in question is one of so many that might have been looked at.
        """
        own = self.seeds.own
        df = np.where(own.variance > 0, own.df, np.inf)
        tail = family_tail(family, df, self.families) / tries
        # each family has other luck, though of the same learners
        tails = (tail, own_tail(family, df) / self.families)
        return combine(self.seeds, self.episodes, self.episode_df, tails, tail)


def family_tail(
    n: int | np.ndarray, df: float | np.ndarray = np.inf, families: int = 1
) -> np.ndarray:
    """Probability beyond one end of each interval, of all pairs of n methods.

    Args:
        n: how many.
        df: of a difference's own variance by seeds. The fewer, the less is known of how far the
            moderated variance is from the true one; that, simulation says, costs the factor
            1 + 1/df.
        families: how many such families are looked at together.
    """
    pairs = families * np.maximum(1, n * (n - 1) // 2)
    return np.asarray(-np.expm1(np.log1p(-FAMILY_LEVEL / (1 + 1 / df)) / pairs) / 2)


def own_tail(n: int | np.ndarray, df: float | np.ndarray = np.inf) -> np.ndarray:
    """The same for the interval by own variances: of level 0.048 for two methods, then less.

    In a larger family more than one pair has a method that varies as no other does, but few; and
    more of them seem calm where seeds are few. The numbers are by simulation.
    """
    return np.maximum(OWN_LEVEL / (1 + 2.5 / df), 0.08 - 0.016 * n) / 2


def difference(found: Estimates, first: np.ndarray, families: int = 1) -> Difference:
    """Of method ``first[...]`` to each of the n. Those of its group are compared without the luck
    that they share.
    """
    at = first[..., None]
    grouped = (found.shared == found.shared[at]) & (found.shared >= 0)
    seeds = Seeds(
        *(
            _choose(grouped, apart + apart.at(first), by_itself + by_itself.at(first))
            for by_itself, apart in (
                (found.seeds.moderated, found.apart.moderated),
                (found.seeds.own, found.apart.own),
            )
        )
    )
    diagonal = np.einsum("...ii->...i", found.episodes)
    with_first = np.take_along_axis(found.episodes, at[..., None], -2)[..., 0, :]
    own = np.take_along_axis(diagonal, at, -1)
    return Difference(
        mean=np.take_along_axis(found.mean, at, -1) - found.mean,
        seeds=seeds,
        episodes=np.maximum(diagonal + own - 2 * with_first, 0),
        episode_df=found.episode_df,
        families=families,
    )


def _choose(where: np.ndarray, one: Part, other: Part) -> Part:
    return Part(np.where(where, one.variance, other.variance), np.where(where, one.df, other.df))


@dataclass(frozen=True)
class Comparison:
    """Each method against the best.

    Attributes:
        best: ``[...]``, the method with the highest mean.
        difference: to it.
        low: ``[..., n]``, with ``high`` the intervals of the differences that hold all at once.
        high: ``[..., n]``.
        behind: ``[..., n]``.
        tied: ``[..., n]``, the best with itself too.
    """

    best: np.ndarray
    difference: Difference
    low: np.ndarray
    high: np.ndarray
    behind: np.ndarray
    tied: np.ndarray

    @property
    def words(self) -> np.ndarray:
        """``best``, ``tied``, ``behind`` or ``undecided``."""
        words = np.where(self.behind, "behind", "undecided")
        words = np.where(self.tied, "tied", words)
        return np.where(_is_best(self.best, words.shape[-1]), "best", words)


def against_best(
    found: Estimates,
    margin: float | np.ndarray = MARGIN,
    families: int = 1,
    tries: np.ndarray | None = None,
) -> Comparison:
    """Compare each method with the one of the highest mean.

    Args:
        found: of n methods.
        margin: a difference inside it is of no account; ``[..., 1]`` for many blocks.
        families: how many such comparisons are looked at together, as of two methods in every
            setting.
        tries: ``[..., n]``, of how many each was chosen by the same luck; 1 by default.
    """
    best, n = found.mean.argmax(-1), found.mean.shape[-1]
    gap = difference(found, best, families)
    others = np.ones(n) if tries is None else tries
    own = np.take_along_axis(np.broadcast_to(others, found.mean.shape), best[..., None], -1)
    itself = _is_best(best, n)
    high = np.where(itself, 0, gap.mean + gap.half(n, others))
    low = np.where(itself, 0, gap.mean - gap.half(n, own))
    tied = (high <= margin) & (low >= -margin)
    behind = _step_down(gap, own) & ~tied
    return Comparison(best, gap, np.where(behind, np.maximum(low, 0), low), high, behind, tied)


def _is_best(best: np.ndarray, n: int) -> np.ndarray:
    return np.asarray(np.arange(n) == best[..., None])


def _step_down(gap: Difference, tries: np.ndarray) -> np.ndarray:
    """Which are behind in the family of all, or in what that leaves, until nothing changes."""
    behind = np.zeros(gap.mean.shape, bool)
    while True:
        left = (~behind).sum(-1, keepdims=True)
        found = behind | (gap.mean > gap.half(left, tries))
        if (found == behind).all():
            return behind
        behind = found
