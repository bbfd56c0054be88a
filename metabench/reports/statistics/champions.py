"""Meta-learning, transfer, hybrids: one test between the champions of the camps.

A champion is chosen by scores on ``val`` episodes. But learners that are lucky on ``val`` are lucky
on ``test``: the first on ``val`` of thirty methods as good as one another is ahead of a single one
as good, by the luck of its learners. (Choosing for each seed by the other seeds does not help: what
chooses in one is tested in another.) So the ends of an interval allow for it: to say that A's
champion is better than B's is to say so of any of the A methods that may be A's best, and the
probability of error is divided among these. (By their number to the power of 0.75, which keeps the
level in benchmarks/power.py: the best of many also varies less than a single one.) Methods clearly
behind the best of their camp do not count. If ``val`` scores come from other learners than the ones
that are tested, none does; but whichever way, a champion counts as chosen of ``LEAST_TRIES``: the
methods that vary most are ahead on ``val`` most often, so champions vary more than the methods by
which their variances are moderated.

A camp's champion is a weighted mean of methods like any other, and so are its best three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from metabench.reports.statistics.comparisons import MARGIN, Comparison, against_best
from metabench.reports.statistics.intervals import Estimates, estimates
from metabench.reports.statistics.moderation import Part, Seeds
from metabench.reports.statistics.tables import Block

LEAST_TRIES = 1.5
"""By simulation, where methods vary by 0 to 4 points."""


@dataclass(frozen=True)
class Champions:
    """A test between camps.

    Attributes:
        camps: names of the n camps.
        chosen: for each camp the methods that stand for it, best first.
        comparison: of the camps, against the best of them.
    """

    camps: tuple[str, ...]
    chosen: tuple[tuple[str, ...], ...]
    comparison: Comparison


def champions(
    block: Block,
    validation: Mapping[str, float],
    camps: Mapping[str, Sequence[str]],
    margin: float = MARGIN,
    best: int = 1,
    same_learners: bool = True,
) -> Champions | None:
    """The champions of the camps (or the means of each camp's ``best``), in one family.

    Args:
        block: test scores.
        validation: a score of each method on ``val`` episodes that tuning did not use; higher is
            better.
        camps: methods of each. Those that the block lacks are left out, and camps without any.
        margin: a difference inside it is of no account.
        best: how many methods stand for a camp.
        same_learners: that the learners of the block have the ``val`` scores.

    Returns:
        None if fewer than two camps have methods.
    """
    members = {
        camp: [block.methods.index(m) for m in found if m in block.methods]
        for camp, found in camps.items()
    }
    names = tuple(camp for camp, rows in members.items() if rows)
    if len(names) < 2:
        return None
    found = estimates(block.moments())
    scores = np.array([validation.get(m, -np.inf) for m in block.methods])
    weights = np.stack([choice(scores, members[c], best) for c in names])
    tries = allowance(found, [members[c] for c in names], best, same_learners)
    compared = against_best(weighted(found, weights), margin, tries=tries)
    chosen = tuple(
        tuple(block.methods[m] for m in np.argsort(-scores, kind="stable") if row[m])
        for row in weights
    )
    return Champions(names, chosen, compared)


def robustness(
    block: Block,
    validation: Mapping[str, float],
    camps: Mapping[str, Sequence[str]],
    margin: float = MARGIN,
    same_learners: bool = True,
) -> dict[str, Champions]:
    """The test, again without each champion, and with the mean of each camp's best three.

    Returns:
        By what they are, ``champions`` first; empty if there is no test. They are one question
        asked in several ways, not a family: a verdict that they do not share rests on one method.
    """

    def test(camps: Mapping[str, Sequence[str]], best: int = 1) -> Champions | None:
        return champions(block, validation, camps, margin, best, same_learners)

    main = test(camps)
    tests = {"champions": main}
    if main is not None:
        for camp, (champion,) in zip(main.camps, main.chosen, strict=True):
            rest = {**camps, camp: [m for m in camps[camp] if m != champion]}
            tests[f"without {champion}"] = test(rest)
        tests["best three"] = test(camps, best=3)
    return {name: found for name, found in tests.items() if found is not None}


def choice(scores: np.ndarray, members: Sequence[int] | np.ndarray, best: int = 1) -> np.ndarray:
    """``[..., k]``: the weights of a camp's best ``members`` by ``scores`` ``[..., k]``."""
    inside = np.full(scores.shape, -np.inf)
    inside[..., members] = np.nan_to_num(scores[..., members], neginf=-1e300)
    rank = (-inside).argsort(-1, kind="stable").argsort(-1, kind="stable")
    count = min(best, len(members))
    return np.asarray((rank < count) / count)


def allowance(
    found: Estimates,
    camps: Sequence[Sequence[int] | np.ndarray],
    best: int = 1,
    same_learners: bool = True,
) -> np.ndarray:
    """``[..., n]``: of how many each camp's ``best`` count as chosen."""
    if not same_learners:
        return np.full(len(camps), LEAST_TRIES)
    contenders = [(~against_best(found.only(rows), 0.0).behind).sum(-1) for rows in camps]
    ways = [special.comb(n, np.minimum(best, n)) ** 0.75 for n in contenders]
    return np.maximum(np.stack(ways, axis=-1), LEAST_TRIES)


def weighted(found: Estimates, weights: np.ndarray) -> Estimates:
    """Estimates of n weighted means of methods.

    Args:
        found: of k methods. Those of a group of ``shared`` are lucky together.
        weights: ``[..., n, k]``, none negative.
    """
    seeds = Seeds(
        *(_sum(weights, p, found.shared) for p in (found.seeds.moderated, found.seeds.own))
    )
    alone = np.full(found.shared.shape, -1)
    together = len(set(found.shared)) == 1 and found.shared[0] >= 0  # all the luck of one draw
    apart = (found.apart.moderated, found.apart.own)
    return Estimates(
        mean=(weights @ found.mean[..., None])[..., 0],
        seeds=seeds,
        apart=Seeds(*(_sum(weights, p, alone) for p in apart)) if together else seeds,
        shared=np.full(weights.shape[-2], 0 if together else -1),
        episodes=weights @ found.episodes @ np.swapaxes(weights, -1, -2),
        episode_df=found.episode_df,
    )


def _sum(weights: np.ndarray, part: Part, shared: np.ndarray) -> Part:
    """Of weighted methods: variances add, within a group standard deviations do."""
    used = weights > 0
    errors = np.where(used, weights * np.sqrt(np.where(used, part.variance[..., None, :], 0)), 0)
    df = np.where(used, part.df[..., None, :], np.inf)
    groups = [shared == g for g in set(shared) - {-1}] + [
        np.arange(len(shared)) == m for m in np.flatnonzero(shared < 0)
    ]
    total = Part(np.zeros(errors.shape[:-1]), np.ones(errors.shape[:-1]))
    for group in groups:
        total = total + Part(errors[..., group].sum(-1) ** 2, df[..., group].min(-1))
    return total
