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
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scikit_posthocs
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

PRIMARY_METRIC = "accuracy"
"""Registered before any result was seen; regression: mean squared error."""


@dataclass(frozen=True)
class Interval:
    """``mean ± half``, and one standard error."""

    mean: float
    half: float
    error: float

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
    by_seeds, by_episodes = variance_parts(table)
    quantile = 0.5 + level / 2
    of_seeds = stats.t.ppf(quantile, max(s - 1, 1)) ** 2 * by_seeds
    return np.asarray(np.sqrt(of_seeds + stats.t.ppf(quantile, e - 1) ** 2 * by_episodes))


def interval(table: np.ndarray, level: float = 0.95) -> Interval:
    """Confidence interval of the mean of ``[seeds, episodes]``, both random and crossed."""
    error = float(np.sqrt(sum(variance_parts(table))))
    return Interval(float(table.mean()), float(half_width(table, level)), error)


def p_value(table: np.ndarray) -> float:
    """Two-sided p that the mean is zero: one minus the level at which the interval touches it."""
    size = abs(float(table.mean()))
    if size == 0 or not table.any():
        return 1.0
    if half_width(table, 1 - 1e-12) < size:
        return 1e-12  # as small as the quantiles are worth
    found = optimize.brentq(
        lambda log_p: float(half_width(table, 1 - np.exp(log_p))) - size, np.log(1e-12), -1e-12
    )
    return float(np.exp(found))


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


def paired(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two methods' ``[seeds, episodes]`` on the same episodes.

    Seeds pair as they are: both methods with seed s share initial weights and data order.
    """
    table = first - second
    per_episode = table.mean(0)
    spread = per_episode.std(ddof=1)
    return Difference(
        interval=interval(table),
        p=p_value(table),
        d_z=float(per_episode.mean() / spread) if spread > 0 else 0.0,
        better=float((per_episode > 0).mean() + 0.5 * (per_episode == 0).mean()),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction over a family of tests."""
    if not p_values:
        return {}
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, corrected), strict=True))


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


def area_under_shots(means: Mapping[int, float]) -> float:
    """Mean accuracy over log₂(shots), by the trapezoid rule: label need in one number."""
    shots = np.array(sorted(means))
    if len(shots) == 1:
        return float(means[int(shots[0])])
    x, y = np.log2(shots), np.array([means[int(s)] for s in shots])
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


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
