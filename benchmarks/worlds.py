"""Simulated blocks, and what the statistics say of them: coverage, false alarms, power, advice.

Blocks are drawn as metabench.reports.statistics.tables has them: percentage points; the ease of an
episode varies by 10 points for all methods together and by 5 for each, a score of a seed in an
episode by 8 more. What is drawn are not single scores but the sufficient statistics, from their
exact distributions (the covariance by episodes is Wishart's, after Bartlett), many blocks at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from metabench.reports.statistics.board import recommend
from metabench.reports.statistics.champions import allowance, choice, weighted
from metabench.reports.statistics.comparisons import against_best
from metabench.reports.statistics.intervals import estimates, half_widths, quantile
from metabench.reports.statistics.power import data_to_decide, detectable
from metabench.reports.statistics.ranks import ranking
from metabench.reports.statistics.tables import Moments

COMMON, OWN, REST = 10.0, 5.0, 8.0
"""Standard deviations: of episodes for all methods, for each, of a seed's score in an episode."""

SCATTERS: dict[str, tuple[float, ...]] = {
    "2 methods, 1.5": (1.5,) * 2,
    "2 methods, 1 and 4": (1, 4),
    "3 methods, 1.5": (1.5,) * 3,
    "3 methods, one 4 among 1": (1, 1, 4),
    "3 methods, 0 to 4": (0, 2, 4),
    "6 methods, 0 to 4": tuple(np.linspace(0, 4, 6)),
    "6 methods, one 4 among 1": (1,) * 5 + (4,),
    "12 methods, 0": (0,) * 12,
    "12 methods, 1": (1,) * 12,
    "12 methods, 4": (4,) * 12,
    "12 methods, 0 to 4": tuple(np.linspace(0, 4, 12)),
    "12 methods, half 0, half 4": (0,) * 6 + (4,) * 6,
    "12 methods, one 4 among 1": (1,) * 11 + (4,),
    "45 methods, 1.5": (1.5,) * 45,
    "45 methods, 0 to 4": tuple(np.linspace(0, 4, 45)),
    "45 methods, one 4 among 1": (1,) * 44 + (4,),
}
"""Between-seed standard deviations of the methods of a block."""


@dataclass(frozen=True)
class World:
    """What blocks are drawn from.

    Attributes:
        scatter: standard deviation over seeds of each method.
        truth: true mean of each.
        heavy: seeds are Student's t on 3 degrees of freedom, scaled to the same deviation.
        together: how many of the first methods share nine tenths of their seeds' variance.
    """

    scatter: Sequence[float]
    seeds: int
    episodes: int = 600
    truth: Sequence[float] | float = 0.0
    heavy: bool = False
    together: int = 0

    def draw(self, blocks: int, generator: np.random.Generator) -> tuple[Moments, np.ndarray]:
        """Moments of many blocks, and the mean luck of their learners ``[blocks, k]``."""
        scatter = np.asarray(self.scatter, float)
        shape = (blocks, len(scatter), self.seeds)
        k, s, e = len(scatter), self.seeds, self.episodes
        luck = self._seeds(shape, generator)
        shared = np.where(np.arange(k) < self.together, 0, -1)
        if self.together:
            common = self._seeds((blocks, 1, s), generator)
            mixed = np.sqrt(0.9) * common + np.sqrt(0.1) * luck
            luck = np.where(shared[:, None] == 0, mixed, luck)
        luck = luck * scatter[:, None]
        means = luck + generator.normal(0, REST / np.sqrt(e), shape)
        freedom = (s - 1) * (e - 1)
        noise = REST**2 / e * generator.chisquare(freedom, shape[:2]) / freedom
        by_episode = COMMON**2 + np.eye(k) * OWN**2
        drawn = generator.standard_normal(shape[:2]) @ np.linalg.cholesky(by_episode / e).T
        root = np.linalg.cholesky((by_episode + np.eye(k) * REST**2 / s) / e) @ _bartlett(
            blocks, k, e - 1, generator
        )
        covariance = root @ root.transpose(0, 2, 1) / (e - 1)
        covariance[:, np.arange(k), np.arange(k)] -= noise / s
        deviation = np.zeros(shape[:2])
        if self.together:
            n = self.together
            apart = means[:, :n] - means[:, :n].mean(1, keepdims=True)
            deviation[:, :n] = apart.var(-1, ddof=1) * n / (n - 1)
        return (
            Moments(
                mean=means.mean(-1) + drawn + np.broadcast_to(self.truth, k),
                spread=means.var(-1, ddof=1),
                seeds=np.full(k, s),
                noise=noise,
                episodes=covariance,
                episode_df=e - 1,
                deterministic=np.zeros(k, bool),
                shared=shared,
                deviation=deviation,
            ),
            luck.mean(-1),
        )

    def batches(self, count: int) -> Iterator[tuple[Moments, np.ndarray]]:
        """``count`` blocks in all, not too many at once; the same ones every time."""
        generator = np.random.default_rng(0)
        size = 100_000 // len(self.scatter) ** 2 + 100
        for start in range(0, count, size):
            yield self.draw(min(size, count - start), generator)

    def _seeds(self, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        if self.heavy:
            return generator.standard_t(3, shape) / np.sqrt(3)
        return generator.standard_normal(shape)


def _bartlett(blocks: int, k: int, df: int, generator: np.random.Generator) -> np.ndarray:
    """Lower triangles A with A Aᵀ ~ Wishart(I, df), for df ≥ k."""
    found = np.zeros((blocks, k, k))
    rows, columns = np.tril_indices(k, -1)
    found[:, rows, columns] = generator.standard_normal((blocks, len(rows)))
    found[:, np.arange(k), np.arange(k)] = np.sqrt(
        generator.chisquare(df - np.arange(k), (blocks, k))
    )
    return found


def coverage(world: World, count: int) -> dict[str, float]:
    """Per cent of intervals that hold the truth: on average, and of the method that varies most.

    ``width`` is the mean width, Student's being 1.
    """
    inside, width = np.zeros(len(world.scatter)), []
    for moments, _ in world.batches(count):
        half = half_widths(estimates(moments))
        inside += (np.abs(moments.mean - world.truth) <= half).sum(0)
        episodes = np.maximum(np.einsum("bii->bi", moments.episodes), 0)
        student = quantile(world.seeds - 1, 0.025) ** 2 * moments.spread / world.seeds
        student = np.sqrt(student + quantile(moments.episode_df, 0.025) ** 2 * episodes)
        width.append((half.mean(), student.mean()))
    share = 100 * inside / count
    halves = np.array(width).sum(0)
    return {
        "average": float(share.mean()),
        "most": float(share[int(np.argmax(world.scatter))]),
        "width": float(halves[0] / halves[1]),
    }


def false_alarms(world: World, count: int) -> dict[str, float]:
    """Per cent of blocks in which a method that is as good as any is behind; ``comparison``: of the
    method to which that happens most.

    """
    truth = np.broadcast_to(world.truth, len(world.scatter))
    best = truth == truth.max()
    behind = np.concatenate(
        [
            against_best(estimates(moments), 0.0).behind[:, best]
            for moments, _ in world.batches(count)
        ]
    )
    return {
        "family": 100 * float(behind.any(1).mean()),
        "comparison": 100 * float(behind.mean(0).max()),
    }


def power(world: World, count: int) -> dict[str, float]:
    """Per cent of the worse methods that are found behind the best one.

    ``oracle``: by who knows the variances, and with them steps down in the same way at level 0.05.
    ``lost``: blocks in which the best one is behind another. ``detectable``: the difference that a
    board would state, on average.
    """
    truth = np.broadcast_to(world.truth, len(world.scatter))
    best = truth == truth.max()
    variance = (np.square(world.scatter) + REST**2 / world.episodes) / world.seeds
    variance = variance + OWN**2 / world.episodes
    found, oracle, lost, stated = 0.0, 0.0, 0.0, 0.0
    for moments, _ in world.batches(count):
        compared = against_best(estimates(moments), 0.0)
        right = best[compared.best][:, None] & ~best
        found += (compared.behind & right)[:, ~best].mean(1).sum()
        lost += compared.behind[:, best].any(1).sum()
        error = np.sqrt(variance + variance[compared.best][:, None])
        known = _step_down(compared.difference.mean / error)
        oracle += (known & right)[:, ~best].mean(1).sum()
        stated += detectable(compared).sum()
    return {
        "power": 100 * found / count,
        "oracle": 100 * oracle / count,
        "lost": 100 * lost / count,
        "detectable": stated / count,
    }


def _step_down(score: np.ndarray) -> np.ndarray:
    """Of standardised differences to the best: Šidák over all pairs of those that are left."""
    behind = np.zeros(score.shape, bool)
    while True:
        left = (~behind).sum(1, keepdims=True)
        tail = -np.expm1(np.log(0.95) / np.maximum(1, left * (left - 1) // 2)) / 2
        found = behind | (score > -special.ndtri(tail))
        if (found == behind).all():
            return behind
        behind = found


def camps(
    sizes: Sequence[int],
    world: World,
    count: int,
    same_learners: bool = True,
    allow: bool = True,
) -> dict[str, float]:
    """The test between camps of so many methods each, chosen by ``val`` scores.

    Per cent of blocks in which a camp is behind that is as good as the best one (``alarms``), and
    of the worse camps that are (``power``).

    Args:
        same_learners: a learner is exactly as lucky on ``val`` as on ``test``; otherwise ``val``
            scores come from other learners.
        allow: for the choice.
    """
    k = len(world.scatter)
    truth = np.broadcast_to(world.truth, k)
    members = np.split(np.arange(k), np.cumsum(sizes)[:-1])
    level = np.array([truth[rows].max() for rows in members])
    good = level == level.max()
    generator = np.random.default_rng(1)
    alarms, found = 0.0, 0.0
    for moments, luck in world.batches(count):
        error = luck if same_learners else generator.permutation(luck)
        val = truth + error + generator.normal(0, 0.3, luck.shape)
        methods = estimates(moments)
        weights = np.stack([choice(val, rows) for rows in members], axis=-2)
        tries = allowance(methods, members, 1, same_learners) if allow else None
        behind = against_best(weighted(methods, weights), 0.0, tries=tries).behind
        alarms += behind[:, good].any(1).sum()
        found += behind[:, ~good].mean(1).sum() if (~good).any() else 0
    return {"alarms": 100 * alarms / count, "power": 100 * found / count}


def recommendation(world: World, count: int, margin: float = 1.0) -> dict[str, float]:
    """Points that the recommendation gives away, beside those of the best mean; costs are random.

    ``lost`` and ``lost by best`` are how often (per cent) that is more than two points; ``cheaper``
    how often something cheaper than the best mean is recommended.
    """
    truth = np.broadcast_to(world.truth, len(world.scatter))
    loss = truth.max() - truth
    cost = np.random.default_rng(2).permutation(len(truth))
    given, best = [], []
    for moments, _ in world.batches(count):
        compared = against_best(estimates(moments), margin)
        given.append(recommend(compared, cost))
        best.append(compared.best)
    one, other = loss[np.concatenate(given)], loss[np.concatenate(best)]
    return {
        "gives away": float(one.mean()),
        "best mean": float(other.mean()),
        "lost": 100 * float((one > 2).mean()),
        "lost by best": 100 * float((other > 2).mean()),
        "cheaper": 100 * float((np.concatenate(given) != np.concatenate(best)).mean()),
    }


def rank_alarms(methods: int, units: int, count: int, own_share: bool = True) -> float:
    """Per cent of rankings in which two of so many methods, all alike, differ critically.

    Args:
        own_share: each unit has episodes of its own; otherwise all of a source's five seeds are
            scored on the same 600.
    """
    generator = np.random.default_rng(0)
    alarms = 0
    critical = ranking(pd.DataFrame(np.zeros((units, methods)))).critical_difference or np.inf
    for _ in range(count):
        luck = generator.normal(0, 0.3, (units, methods))
        sources = units if own_share else -(-units // 5)
        ease = generator.normal(0, OWN / np.sqrt(120 if own_share else 600), (sources, methods))
        score = luck + np.repeat(ease, -(-units // sources), axis=0)[:units]
        ranks = score.argsort(1).argsort(1).mean(0)
        alarms += np.ptp(ranks) > critical
    return 100 * alarms / count


def enough_seeds(world: World, count: int) -> tuple[float, float]:
    """What an undecided comparison is told it needs (median), and how often (%) that decides."""
    moments, _ = world.draw(count, np.random.default_rng(0))
    compared = against_best(estimates(moments), 1.0)
    need, _ = data_to_decide(compared, world.seeds, 1.0)
    asked = need[compared.words == "undecided"]
    seeds = float(np.median(asked))
    if not np.isfinite(seeds):
        return seeds, float("nan")
    again = replace(world, seeds=int(seeds)).draw(count, np.random.default_rng(1))[0]
    words = against_best(estimates(again), 1.0).words
    return seeds, 100 * float((words != "undecided").mean(where=words != "best"))
