"""Statistics of a comparison: intervals, paired tests, ranks, effect sizes, calibration.

The scores of one method in one setting form a table ``[seeds, episodes]``. Both factors are random
and they are *crossed*: every seed's learner meets the same episodes. So

    y_se = μ + a_s + b_e + ε_se,      Var(ȳ) = σ_a²/S + σ_b²/E + σ_ε²/(S E)

The two-way analysis of variance splits this in two: V_a = MS_a/(S E), which estimates
σ_a²/S + σ_ε²/(S E) on S−1 degrees of freedom, and V_b = (MS_b − MS_ε)/(S E), which estimates
σ_b²/E. The interval gives each part its own quantile (as Howe 1974, Graybill & Wang 1980):

    ȳ ± sqrt( t²_{S−1} V_a + t²_{E−1} V_b )

With three seeds or more it covers 93 to 97 times in 100 whatever the seeds do; with two it is
cautious (up to 99). Satterthwaite's single quantile covers down to 87, an interval over episodes
alone less than 50 (the tests measure it).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy import optimize, special, stats

PRIMARY_METRIC = "accuracy"
"""Registered before any result was seen; regression: mean squared error."""


@dataclass(frozen=True)
class Interval:
    """``mean ± half``, one standard error, and the two-sided p that the mean is zero."""

    mean: float
    half: float
    error: float
    p: float

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half


def table_of(frame: pd.DataFrame) -> np.ndarray:
    """``[seeds, episodes]`` of the column ``value``.

    Raises:
        ValueError: a seed lacks an episode, or has it twice.
    """
    table = frame.pivot(index="seed", columns="episode", values="value")
    if table.isna().to_numpy().any():
        raise ValueError("every seed must have every episode")
    return np.asarray(table.to_numpy(), dtype=float)


def variance_parts(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``V_a, V_b`` of tables ``[..., S, E]``: variance of the mean by seeds and by episodes.

    A negative estimate counts as zero. One seed: ``V_a`` is zero, for want of evidence.
    """
    s, e = table.shape[-2:]
    mean = table.mean((-2, -1), keepdims=True)
    seeds, episodes = table.mean(-1, keepdims=True), table.mean(-2, keepdims=True)
    ms_b = s * ((episodes - mean) ** 2).sum((-2, -1)) / (e - 1)
    if s == 1:
        return np.zeros_like(ms_b), ms_b / e
    ms_a = e * ((seeds - mean) ** 2).sum((-2, -1)) / (s - 1)
    residual = table - seeds - episodes + mean
    ms_e = (residual**2).sum((-2, -1)) / ((s - 1) * (e - 1))
    return ms_a / (s * e), np.maximum(ms_b - ms_e, 0) / (s * e)


def half_width(table: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Half of the interval's width for tables ``[..., S, E]``."""
    s, e = table.shape[-2:]
    return _half(list(zip(variance_parts(table), (s - 1, e - 1), strict=True)), 1 - level)


def _half(parts: Sequence[tuple[np.ndarray, int]], alpha: float) -> np.ndarray:
    """``sqrt(Σ t²_df V)`` over parts ``(V, df)``; a part without freedom has ``V = 0``."""
    return np.sqrt(sum(special.stdtrit(max(df, 1), alpha / 2) ** 2 * v for v, df in parts))


def interval(table: np.ndarray, level: float = 0.95) -> Interval:
    """Confidence interval of the mean of ``[seeds, episodes]``, both random and crossed."""
    return contrast([table], [1.0], level)


def contrast(
    tables: Sequence[np.ndarray], weights: Sequence[float], level: float = 0.95
) -> Interval:
    """Interval of ``Σ w_k ȳ_k`` over tables of the same seeds and of unrelated episodes.

    A drop from in-domain to cross-domain is one, and so is the area under a curve against shots.
    Seeds are paired: their part is the variance of ``Σ w_k ȳ_ks`` over seeds; the episodes of each
    table add theirs.

    Args:
        tables: each ``[S, E_k]``.
        weights: ``w_k``.
    """
    by_seed = sum(w * t.mean(1) for w, t in zip(weights, tables, strict=True))
    seeds = len(by_seed)
    of_seeds = by_seed.var(ddof=1) / seeds if seeds > 1 else np.zeros(())
    parts = [(of_seeds, seeds - 1)]
    parts += [
        (w**2 * variance_parts(t)[1], t.shape[1] - 1) for w, t in zip(weights, tables, strict=True)
    ]
    mean, error = float(by_seed.mean()), float(np.sqrt(sum(v for v, _ in parts)))
    return Interval(mean, float(_half(parts, 1 - level)), error, _p_value(mean, parts))


def _p_value(mean: float, parts: Sequence[tuple[np.ndarray, int]]) -> float:
    """Two-sided p that the mean is zero: one minus the level at which the interval touches it."""
    smallest = 1e-12  # as small as the quantiles are worth
    if mean == 0 or not any(v for v, _ in parts):
        return float(mean == 0)
    if _half(parts, smallest) < abs(mean):
        return smallest
    found = optimize.brentq(
        lambda log_p: float(_half(parts, math.exp(log_p))) - abs(mean), math.log(smallest), -1e-12
    )
    return math.exp(found)


def bootstrap_interval(
    table: np.ndarray, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap that draws seeds and episodes anew, each by itself (Owen 2007).

    An independent check of :func:`interval`. With many seeds both agree; with three the bootstrap
    is too narrow (it covers 80 to 90 in 100: the variance of three redrawn seeds is two thirds of
    the truth), so the leaderboard does not use it.
    """
    s, e = table.shape
    generator = np.random.default_rng(seed)
    seeds = generator.multinomial(s, np.full(s, 1 / s), draws)  # [B, S]
    episodes = generator.multinomial(e, np.full(e, 1 / e), draws)  # [B, E]
    means = ((seeds @ table) * episodes).sum(1) / (s * e)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A paired comparison on identical episodes.

    Attributes:
        interval: of the mean difference.
        p: two-sided, that the mean difference is zero; after Holm, if it is one of several.
        d_z: effect size, mean over standard deviation of the per-episode differences (seed means).
        better: share of episodes where the first is better; ties count half.
    """

    interval: Interval
    p: float
    d_z: float
    better: float


def paired(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], weights: Sequence[float] = (1.0,)
) -> Difference:
    """Compare two methods, table by table ``[S, E_k]``, on the same episodes.

    Seeds pair as they are: both methods with seed s share initial weights and data order.

    Args:
        first: one table for each set of episodes; one set is the ordinary paired comparison.
        second: of the same seeds and episodes.
        weights: of the sets of episodes.
    """
    tables = [a - b for a, b in zip(first, second, strict=True)]
    found = contrast(tables, weights)
    per_episode = np.concatenate([t.mean(0) for t in tables])
    spread = per_episode.std(ddof=1)
    return Difference(
        interval=found,
        p=found.p,
        d_z=float(per_episode.mean() / spread) if spread > 0 else 0.0,
        better=float((per_episode > 0).mean() + 0.5 * (per_episode == 0).mean()),
    )


def against_best(
    tables: Mapping[str, Sequence[np.ndarray]], weights: Sequence[float] = (1.0,)
) -> dict[str, Difference]:
    """Each method against the one with the highest mean; p after Holm. The best has p = 1.

    A method with p > 0.05 cannot be told from the best. The best of all truly stands among those
    (and the one with the highest mean) at least 95 times in 100: it is left out only if some other
    method beats it by a test of level 0.05/(methods − 1) (Gupta's subset selection).

    Args:
        tables: by method, one table ``[S, E_k]`` for each set of episodes; higher is better.
        weights: of the sets of episodes.
    """
    means = {
        m: sum(w * t.mean() for w, t in zip(weights, found, strict=True))
        for m, found in tables.items()
    }
    best = max(means, key=lambda m: means[m])
    found = {m: paired(tables[best], t, weights) for m, t in tables.items()}
    corrected = holm({m: d.p for m, d in found.items() if m != best})
    return {m: replace(d, p=corrected.get(m, 1.0)) for m, d in found.items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction over a family of tests.

    As ``statsmodels.stats.multitest.multipletests``, which collects garbage for 0.2 s a call.
    """
    ascending = sorted(p_values, key=lambda name: p_values[name])
    factors = np.arange(len(ascending), 0, -1)
    corrected = np.maximum.accumulate([p_values[name] for name in ascending] * factors).clip(max=1)
    return dict(zip(ascending, corrected.tolist(), strict=True))


@dataclass(frozen=True)
class Ranking:
    """Average ranks over blocks (1 is best), Friedman's test, Nemenyi's critical difference."""

    ranks: pd.Series
    p: float
    critical_difference: float
    pairs: pd.DataFrame


def ranking(scores: pd.DataFrame) -> Ranking:
    """Friedman and Nemenyi over ``scores`` (rows: blocks, columns: methods; higher is better).

    Demšar (2006). Blocks are (source, target, setting); needs two blocks and three methods.
    """
    n, k = scores.shape
    if n < 2 or k < 3:
        raise ValueError(f"ranks need 2 blocks and 3 methods, there are {n} and {k}")
    ranks = scores.rank(axis=1, ascending=False).mean().sort_values()
    p = float(stats.friedmanchisquare(*(scores[c] for c in scores)).pvalue)
    quantile = stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2)
    critical = float(quantile * np.sqrt(k * (k + 1) / (6 * n)))
    pairs = scikit_posthocs.posthoc_nemenyi_friedman(scores.to_numpy())
    pairs.index = pairs.columns = scores.columns
    return Ranking(ranks, p, critical, pairs)


def calibration(frame: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """Expected calibration error and the reliability table from the stored bins.

    ``ECE = Σ_b (n_b/n) |accuracy_b − confidence_b|`` (Guo et al. 2017, eq. 3).
    """
    sums = {
        name: np.sum(np.stack([np.asarray(v, float) for v in frame[f"bin_{name}"]]), axis=0)
        for name in ("count", "correct", "confidence")
    }
    table = pd.DataFrame(sums)
    filled = table[table["count"] > 0]
    gap = (filled["correct"] - filled["confidence"]).abs().sum() / filled["count"].sum()
    return float(gap), table.assign(
        accuracy=table["correct"] / table["count"].where(table["count"] > 0),
        mean_confidence=table["confidence"] / table["count"].where(table["count"] > 0),
    )


def shot_weights(shots: Sequence[int]) -> np.ndarray:
    """Weights of the scores at ``shots`` (ascending) in the area under their curve.

    The area is the mean over log₂(shots) by the trapezoid rule: label need in one number.
    """
    if len(shots) == 1:
        return np.ones(1)
    widths = np.diff(np.log2(shots))
    return (np.append(widths, 0) + np.append(0, widths)) / (2 * widths.sum())


def shots_to_reach(means: Mapping[int, float], level: float) -> float | None:
    """Shots at which accuracy first reaches ``level``, by interpolation on log₂(shots).

    ``None`` if it does not within the measured range.
    """
    shots = sorted(means)
    if means[shots[0]] >= level:
        return float(shots[0])
    for a, b in itertools.pairwise(shots):
        if means[a] < level <= means[b]:
            share = (level - means[a]) / (means[b] - means[a])
            return float(2 ** (np.log2(a) + share * (np.log2(b) - np.log2(a))))
    return None
