"""What a search of so many trials finds on average, and whether that orders the camps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import gammaln

TRIALS = (4, 8, 16, 32)
"""Numbers of trials at which the camps are ordered."""


def expected_best(scores: Sequence[float] | np.ndarray, count: int) -> float:
    """Mean of the largest of ``count`` of the ``scores``, over all ways of drawing that many.

    ``Σ_i v_(i) C(i − 1, n − 1) / C(N, n)`` with ``v_(1) ≤ … ≤ v_(N)``: unbiased for what n new
    trials would find (Dodge et al. 2021, eq. 4), unlike the estimator of Dodge et al. 2019, which
    draws with replacement.

    Raises:
        ValueError: there are fewer scores than that, or none is drawn.
    """
    ordered, n = np.sort(np.asarray(scores, float)), count
    if not 1 <= n <= len(ordered):
        raise ValueError(f"{n} of {len(ordered)} trials")
    below = np.arange(n - 1, len(ordered))  # i − 1 of those that can be the largest
    log = _log_choose(below, n - 1) - _log_choose(np.array(len(ordered)), n)
    return float(ordered[n - 1 :] @ np.exp(log))


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))


def curve(scores: Sequence[float]) -> np.ndarray:
    """Score that a search of 1, 2, … trials finds on average.

    The first of ``scores`` is that of the default settings, with which every search begins; the
    others are drawn.
    """
    first, *rest = scores
    at_least = np.maximum(rest, first)
    return np.array([first, *(expected_best(at_least, n) for n in range(1, len(rest) + 1))])


def order_of_camps(
    curves: Mapping[str, np.ndarray], camps: Mapping[str, str]
) -> dict[int, list[tuple[str, str, float]]]:
    """The camps after 4, 8, 16 and 32 trials of each method, as far as any method has so many.

    A method with fewer settings than that has tried all of them, and stays where it is.

    Args:
        curves: of the methods, by name.
        camps: of the methods; one without a camp is in none.

    Returns:
        By number of trials, ``(camp, its best method, that method's score)``, the best camp first.
    """
    taking = {method: found for method, found in curves.items() if camps.get(method)}
    if not taking:
        return {}
    most = max(map(len, taking.values()))
    orders = {}
    for n in (n for n in TRIALS if n <= most):
        best: dict[str, tuple[str, str, float]] = {}
        for method, found in taking.items():
            row = camps[method], method, float(found[min(n, len(found)) - 1])
            if row[0] not in best or row[2] > best[row[0]][2]:
                best[row[0]] = row
        orders[n] = sorted(best.values(), key=lambda row: -row[2])
    return orders


def is_decided(orders: Mapping[int, Sequence[tuple[str, str, float]]]) -> bool:
    """Whether the order is the same at the two largest numbers of trials that there are."""
    last = [[camp for camp, _, _ in orders[n]] for n in sorted(orders)[-2:]]
    return len(last) == 2 and last[0] == last[1]
