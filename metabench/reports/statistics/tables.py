"""The scores of a block, and what all statistics need of them.

The scores of one method form a table ``[seeds, episodes]``. Both factors are random and *crossed*:
every seed's learner meets the same episodes. So the score of method m is

    y_mse = μ_m + a_ms + b_me + ε_mse

with a_ms the luck of a learner, b_me the ease of an episode for the method (most of it common to
all methods), ε the rest. Means over a method's S_m seeds and E episodes vary by

    Var(ȳ_m) = Var(a_ms + ε̄_ms)/S_m + Var(b_me)/E

:class:`Moments` has an estimate of each term. They do not depend on one another (two-way analysis
of variance), and are all that intervals and comparisons look at.

Where classes were split anew, seeds and episodes are *nested* in splits: each split has learners
and episodes of its own, and adds the luck of its classes, c_k for all methods and d_mk for method
m. The mean of a split has all of it. So splits take the place of seeds, there is no further part by
episodes, and since c_k is the same for all methods, they are compared by what they deviate from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of k methods; every array may have leading dimensions (many blocks).

    Attributes:
        mean: ``[..., k]``.
        spread: ``[..., k]``, variance over seeds of a seed's mean; 0 with one seed.
        seeds: ``[k]``, seeds that each method has.
        noise: ``[..., k]``, the part of a seed mean's variance that is due to ε: a lower bound.
        episodes: ``[..., k, k]``, covariance of the means by the draw of episodes, without ε.
        episode_df: its degrees of freedom.
        deterministic: ``[k]``, learners on which a seed has no influence.
        shared: ``[k]``, a number for methods that start from the same learner, so that their seeds
            are lucky together; −1 for none.
        deviation: ``[..., k]``, as ``spread``, of the difference to the mean of those that share
            (times n/(n − 1) for the n of them); 0 where nothing is shared.
    """

    mean: np.ndarray
    spread: np.ndarray
    seeds: np.ndarray
    noise: np.ndarray
    episodes: np.ndarray
    episode_df: int
    deterministic: np.ndarray
    shared: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class Block:
    """Scores that can be compared: the same frozen episodes, higher is better (an error: negated).

    Attributes:
        methods: k names.
        sets: one array ``[k, seeds, episodes]`` for each set of episodes; NaN in all episodes of
            a set where a method has no such seed. One set is the ordinary case.
        weights: of the sets. (1, −1) makes a score of the drop between two targets, weights over
            shots the area under a curve.
        deterministic: methods on which a seed has no influence; those whose scores are the same
            for two seeds or more are found.
        shared: ``shared[method]`` names what a method shares with others, as a pretrained backbone
            by seed; methods that are not in it share nothing.
        splits: of each seed, the split of the classes in which its learners were trained and
            tested; empty where all have one.
        nested: indices of the sets of which each split has episodes of its own.
    """

    methods: tuple[str, ...]
    sets: tuple[np.ndarray, ...]
    weights: tuple[float, ...] = (1.0,)
    deterministic: Collection[str] = ()
    shared: Mapping[str, str] | None = None
    splits: tuple[int, ...] = ()
    nested: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if len(self.sets) != len(self.weights):
            raise ValueError(f"{len(self.sets)} sets of episodes, {len(self.weights)} weights")
        if self.splits and len(self.splits) != self.sets[0].shape[1]:
            raise ValueError(f"{len(self.splits)} splits, {self.sets[0].shape[1]} seeds")
        for scores in self.sets:
            if scores.ndim != 3 or scores.shape[0] != len(self.methods) or scores.shape[2] < 2:
                raise ValueError(f"scores [methods, seeds, episodes] are {scores.shape}")
            missing = np.isnan(scores)
            if (missing.any(2) != missing.all(2)).any():
                raise ValueError("every seed must have every episode")
            if missing.all((1, 2)).any():
                raise ValueError("a method has no seed at all")
            if (missing[..., 0] != np.isnan(self.sets[0][..., 0])).any():
                raise ValueError("a method must have the same seeds in all sets of episodes")

    def only(self, methods: Collection[str]) -> Block:
        """The block of those of ``methods`` that it has."""
        rows = [i for i, method in enumerate(self.methods) if method in methods]
        kept = tuple(self.methods[i] for i in rows)
        return replace(self, methods=kept, sets=tuple(scores[rows] for scores in self.sets))

    def of_sets(self, chosen: Collection[int]) -> Block:
        """The block of those sets of episodes alone."""
        kept = [i for i in range(len(self.sets)) if i in chosen]
        return replace(
            self,
            sets=tuple(self.sets[i] for i in kept),
            weights=tuple(self.weights[i] for i in kept),
            nested=frozenset(new for new, i in enumerate(kept) if i in self.nested),
        )

    @property
    def present(self) -> np.ndarray:
        """``[k, seeds]``: which seeds each method has."""
        return ~np.isnan(self.sets[0][..., 0])

    @property
    def seed_means(self) -> np.ndarray:
        """``[k, seeds]``, NaN where there is no such seed."""
        return np.asarray(sum(w * t.mean(2) for w, t in zip(self.weights, self.sets, strict=True)))

    @property
    def units(self) -> int:
        """Independent repetitions: splits, or seeds where there is one split."""
        return len(set(self.splits)) if self.split_anew else int(self.present.sum(1).max())

    @property
    def split_anew(self) -> bool:
        """Whether the seeds are of several splits of the classes."""
        return len(set(self.splits)) > 1

    def by_split(self) -> list[Block]:
        """The block of each split: the classes are what they are, seeds and episodes vary."""
        if not self.split_anew:
            return [self]
        columns = [np.equal(self.splits, split) for split in sorted(set(self.splits))]
        return [
            replace(
                self,
                sets=tuple(scores[:, kept] for scores in self.sets),
                splits=(),
                nested=frozenset(),
            )
            for kept in columns
        ]

    def moments(self) -> Moments:
        """The sufficient statistics: over splits where there are several, else over seeds."""
        units = self._of_splits() if self.split_anew else self
        means, count = units.seed_means, units.present.sum(1)
        noise, episodes = np.zeros(len(count)), np.zeros((len(count), len(count)))
        for i, (weight, scores) in enumerate(zip(units.weights, units.sets, strict=True)):
            if i in self.nested:
                continue  # a unit's mean has the luck of its own episodes
            by_episode = np.nanmean(scores, 1)
            rest = scores - scores.mean(2, keepdims=True) - by_episode[:, None]
            rest += np.nanmean(scores, (1, 2))[:, None, None]
            size = scores.shape[2]
            freedom = np.maximum((count - 1) * (size - 1), 1)
            own = np.nansum(rest**2, (1, 2)) / freedom / size
            noise += weight**2 * own
            episodes += weight**2 * (np.cov(by_episode) / size - np.diag(own / count))
        groups = units._groups()
        return Moments(
            mean=np.nanmean(means, 1),
            spread=_variance(means),
            seeds=count,
            noise=noise,
            episodes=episodes,
            episode_df=min(t.shape[2] for t in self.sets) - 1,
            deterministic=units._constant(),
            shared=groups,
            deviation=_deviation(means, groups),
        )

    def _of_splits(self) -> Block:
        """The same with splits in place of seeds: no learner is deterministic, all share them."""
        splits = [split.sets for split in self.by_split()]
        means = tuple(
            np.stack([np.nanmean(scores, 1) for scores in of_set], axis=1)
            for of_set in zip(*splits, strict=True)
        )
        together = dict.fromkeys(self.methods, "splits")
        return replace(self, sets=means, deterministic=(), shared=together, splits=())

    def _constant(self) -> np.ndarray:
        declared = np.array([m in self.deterministic for m in self.methods])
        same = np.all([np.nan_to_num(np.ptp(_filled(t), 1)).max(1) == 0 for t in self.sets], axis=0)
        return declared | (same & (self.present.sum(1) > 1))

    def _groups(self) -> np.ndarray:
        shared = self.shared or {}
        names = sorted(set(shared.values()))
        found = np.array([names.index(shared[m]) if m in shared else -1 for m in self.methods])
        alone = [g for g in range(len(names)) if (found == g).sum() < 2]
        return np.where(np.isin(found, alone), -1, found)


def _filled(scores: np.ndarray) -> np.ndarray:
    """Missing seeds take the method's mean over seeds."""
    return np.where(np.isnan(scores), np.nanmean(scores, 1, keepdims=True), scores)


def _variance(values: np.ndarray) -> np.ndarray:
    """``[k]`` of ``[k, seeds]``, 0 with one seed."""
    count = (~np.isnan(values)).sum(1)
    centred = values - np.nanmean(values, 1, keepdims=True)
    return np.asarray(np.nansum(centred**2, 1) / np.maximum(count - 1, 1))


def _deviation(means: np.ndarray, groups: np.ndarray) -> np.ndarray:
    found = np.zeros(len(means))
    for group in set(groups) - {-1}:
        members = groups == group
        n = members.sum()
        common = np.nanmean(means[members] - np.nanmean(means[members], 1, keepdims=True), 0)
        found[members] = _variance(means[members] - common) * n / (n - 1)
    return found
