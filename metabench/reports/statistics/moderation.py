"""Between-seed variances, moderated: three seeds have two degrees of freedom, a block has more.

Empirical Bayes as in limma (Smyth 2004, Statistical Applications in Genetics and Molecular Biology
3:3). The methods' true variances σ² are taken to be drawn from a scaled inverse χ²(d₀, s₀²), and
each sample variance s² on d degrees of freedom from σ² χ²_d/d. Then

    σ̃² = (d₀ s₀² + d s²)/(d₀ + d)      and      (ȳ − μ)/(σ̃/√S) ~ t on d₀ + d

Three things differ from limma. d₀ and s₀² come from the likelihood, s²/s₀² ~ F(d, d₀), averaged
over a grid of d₀: with two degrees of freedom the moments of log s² are far less precise. The
variances of methods that share a learner count as one, for that is what they are. And 1/(n − 1) is
added to 1/d₀, as n methods cannot show that they vary alike more precisely than n − 1 degrees of
freedom allow. That is a rule, not a derivation: the uncertainty of s₀² alone would ask for
1/(n d), and that of d₀ has no simple form; with this amount the intervals of few methods cover what
they should (benchmarks/power.py).

Moderation is right for a block on average and too bold for a method that varies far more than its
neighbours: with three seeds, in a tenth of the cases, its seeds happen to agree as well as theirs.
Nothing in the data can tell then. So each part also carries the method's :attr:`Seeds.own`
variance, and no interval is narrower than that alone makes it at a somewhat lower level
(:mod:`metabench.reports.statistics.intervals`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from metabench.reports.statistics.tables import Moments

GRID = 2.0 ** np.arange(-2, 7, 0.5)
"""Degrees of freedom of the prior that are looked at: beyond 90 nothing changes."""

STEPS = 30


@dataclass(frozen=True)
class Part:
    """An estimated variance, and the degrees of freedom on which the estimate rests."""

    variance: np.ndarray
    df: np.ndarray

    def at(self, index: np.ndarray) -> Part:
        """Only the method ``index[...]`` of each block, as ``[..., 1]``."""
        return Part(
            *(np.take_along_axis(a, index[..., None], -1) for a in (self.variance, self.df))
        )

    def __add__(self, other: Part) -> Part:
        """The variance of a sum; degrees of freedom after Satterthwaite (1946)."""
        total = self.variance + other.variance
        with np.errstate(divide="ignore", invalid="ignore"):
            df = total**2 / (self.variance**2 / self.df + other.variance**2 / other.df)
        return Part(total, np.where(np.isfinite(df), df, 1.0))


@dataclass(frozen=True)
class Seeds:
    """The variance of means by the luck of their learners: moderated, and each method's own."""

    moderated: Part
    own: Part

    def only(self, index: np.ndarray) -> Seeds:
        """Those of some of the methods."""
        return Seeds(
            *(Part(p.variance[..., index], p.df[..., index]) for p in (self.moderated, self.own))
        )


def moderate(
    spread: np.ndarray, df: np.ndarray, noise: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moderated variances ``[..., k]`` and their degrees of freedom.

    Args:
        spread: sample variances.
        df: ``[k]``, of each. Methods with 0 tell nothing and are told by the others.
        noise: a lower bound of each true variance.
        weight: ``[k]``; 0 leaves a method out of the prior, n that share a learner have 1/n each.
    """
    used = (weight > 0) & (df > 0)
    share, freedom = weight[used], df[used]
    n = share.sum()
    if n <= 1:
        own = np.where(df > 0, np.maximum(spread, noise), np.inf)
        return own, np.broadcast_to(np.maximum(df, 1.0), own.shape)
    d0, s0 = _prior(spread[..., used], freedom, share)
    variance = (d0 * s0 + df * spread) / (d0 + df)
    return np.maximum(variance, noise), np.minimum(d0 + df, (share * freedom).sum())


def _prior(spread: np.ndarray, df: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d₀ and s₀², ``[..., 1]`` each, of sample variances ``[..., k]``: s²/s₀² ~ F(d, d₀).

    For each d₀ of a grid the most likely s₀²; then the geometric means over the grid, weighted by
    the likelihood.
    """
    n, grid = share.sum(), GRID.reshape(-1, *[1] * spread.ndim)
    s2 = np.maximum(spread, np.finfo(float).tiny)
    scale = _most_likely_scale(s2, df, share, grid)
    ratio = df * s2 / (grid * scale)
    logs = df / 2 * np.log(ratio) - (df + grid) / 2 * np.log1p(ratio)
    logs = (share * (logs - special.betaln(df / 2, grid / 2))).sum(-1, keepdims=True)
    weight = special.softmax(logs, axis=0)
    d0 = np.exp((weight * np.log(grid)).sum(0))
    return 1 / (1 / d0 + 1 / (n - 1)), np.exp((weight * np.log(scale)).sum(0))


def _most_likely_scale(
    s2: np.ndarray, df: np.ndarray, share: np.ndarray, d0: np.ndarray
) -> np.ndarray:
    """By expectation of 1/σ² and maximisation, with the expanded parameters of Kent, Tyler & Vardi
    (1994, for Student's t): some ten steps, where the plain algorithm takes hundreds if d₀ ≫ d.
    """
    scale = (share * s2).sum(-1, keepdims=True) / share.sum()
    for _ in range(STEPS):
        precision = share * (df + d0) / (d0 * scale + df * s2)
        scale = (precision * df * s2).sum(-1, keepdims=True) / precision.sum(-1, keepdims=True)
        scale = scale * share.sum() / (share * df).sum()
    return scale


def seed_parts(moments: Moments) -> Seeds:
    """The variance of each method's mean by its seeds; zero for deterministic methods."""
    weight = _weights(moments)
    return _parts(moments, moments.spread, np.maximum(moments.seeds - 1.0, 0), weight)


def shared_parts(moments: Moments) -> Seeds:
    """As :func:`seed_parts`, of what a method does not share with the others of its group.

    The difference of two methods of a group varies by these: the luck that they share cancels. The
    (n − 1) d degrees of freedom of n deviations from their mean are divided among the n.
    """
    found = Part(np.zeros_like(moments.spread), np.ones_like(moments.spread))
    seeds = Seeds(found, found)
    for group in set(moments.shared) - {-1}:
        members = moments.shared == group
        n = members.sum()
        df = np.maximum(moments.seeds - 1.0, 0) * (n - 1) / n
        weight = (members & ~moments.deterministic) * (n - 1) / n
        mine = _parts(moments, moments.deviation, df, weight)
        seeds = Seeds(
            *(
                Part(
                    np.where(members, new.variance, old.variance), np.where(members, new.df, old.df)
                )
                for new, old in ((mine.moderated, seeds.moderated), (mine.own, seeds.own))
            )
        )
    return seeds


def _parts(moments: Moments, spread: np.ndarray, df: np.ndarray, weight: np.ndarray) -> Seeds:
    """Of the means over seeds. What one seed alone would have to tell is infinite."""
    variance, freedom = moderate(spread, df, moments.noise, weight)
    own = np.where(df > 0, spread, np.inf)
    moderated, own = (
        np.where(moments.deterministic, 0.0, v / moments.seeds) for v in (variance, own)
    )
    return Seeds(
        Part(moderated, freedom), Part(own, np.broadcast_to(np.maximum(df, 1.0), own.shape))
    )


def _weights(moments: Moments) -> np.ndarray:
    """1 for a learner of its own, 1/n for n methods that share one, 0 where seeds do nothing."""
    free = ~moments.deterministic
    found = free.astype(float)
    for group in set(moments.shared) - {-1}:
        members = free & (moments.shared == group)
        found[members] = 1 / max(members.sum(), 1)
    return found
