"""Heads on frozen features: all episodes at once against scikit-learn, one episode after another.

Features are noisy class means on the unit sphere, in single precision as backbones give them, 15
queries a class. Each side answers the queries of the same episodes; that both answer the same is
checked first. scikit-learn's logistic regression is timed at its own tolerance, and compared at one
of 1e-8. Support and queries are arrays already, so that no embedding is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor

from benchmarks.timing import compare, configure
from metabench.backbones.mlp import MLP
from metabench.episodes import Episodes, one_hot
from metabench.episodes.sampling import assemble
from metabench.methods import METHODS
from metabench.methods.base import FeatureMethod, Task

QUERIES, C, PENALTY, NEIGHBOURS, SHRINKAGE = 15, 10.0, 1.0, 5, 0.9

LOGISTIC = ((5, 1, 640), (5, 1, 1280), (5, 5, 640), (5, 5, 1280), (20, 5, 640), (77, 10, 384))
"""Ways, shots and dimensions of the episodes of logistic regression."""
OTHERS = ((5, 5, 64),)
"""Those of the other heads: the default profile's, and of Conv4's width."""

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Support ``[S, D]``, its labels ``[S]`` and queries ``[Q, D]`` to scores ``[Q, ways]``."""


def episodes(ways: int, shots: int, width: int) -> Episodes:
    """As many as evaluation answers at once, 50, but no more than 2,000 support examples."""
    count = min(50, max(2, 2000 // (ways * shots)))
    g = torch.Generator().manual_seed(0)
    means = 0.4 * torch.randn(count, ways, 1, width, generator=g)
    x = means + torch.randn(count, ways, shots + QUERIES, width, generator=g)
    return assemble(F.normalize(x.relu(), dim=-1), shots)


def head(name: str, ways: int, width: int, **settings: float) -> FeatureMethod:
    """A method of the benchmark; its backbone, which is not called, says how wide features are."""
    cls = METHODS.load(name)
    learner = cls(MLP((4,), (width,)), Task("vector", ways, ways), cls.Settings(**settings))
    assert isinstance(learner, FeatureMethod)
    return learner.eval()


def loop(e: Episodes, fit: Fit) -> Tensor:
    """Scores of all queries, episode by episode, ``[T, Q, ways]``."""
    parts = zip(e.support_x.numpy(), e.support_y.numpy(), e.query_x.numpy(), strict=True)
    return torch.from_numpy(np.stack([fit(x, y, query) for x, y, query in parts]))


def by_logistic(tolerance: float) -> Fit:
    """Logistic regression as ``linear_probe`` has it."""

    def fit(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
        fitted = LogisticRegression(C=C, max_iter=10_000, tol=tolerance).fit(x, y)
        return np.asarray(fitted.decision_function(query))

    return fit


def by_ridge(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Ridge regression to one-hot targets."""
    targets = one_hot(torch.from_numpy(y), int(y.max()) + 1, torch.from_numpy(x)).numpy()
    return np.asarray(SklearnRidge(alpha=PENALTY).fit(x, targets).predict(query))


def by_centroid(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The nearest class mean."""
    return np.eye(int(y.max()) + 1)[NearestCentroid().fit(x, y).predict(query)]


def by_neighbours(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Votes of the nearest examples."""
    voting = KNeighborsClassifier(NEIGHBOURS, weights="distance").fit(x, y)
    return np.asarray(voting.predict_proba(query))


class Given(LedoitWolf):
    """A covariance estimator that returns the source's, here the identity."""

    def fit(self, x: np.ndarray, y: object = None) -> Given:
        """Nothing is estimated."""
        self.covariance_ = np.eye(x.shape[1])
        return self


def by_discriminants(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Linear discriminants with the source's covariance."""
    fitted = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given()).fit(x, y)
    return np.asarray(fitted.decision_function(query))


def contest(title: str, method: FeatureMethod, e: Episodes, fit: Fit, exact: Fit, n: int) -> float:
    """How many times as long scikit-learn's ``fit`` takes; both sides decide the same, is checked.

    Args:
        exact: what decisions are compared with.
        n: repetitions.
    """
    few = e[: max(2, len(e) // 5)]
    with torch.no_grad():
        found, wanted = method.classify(e)[: len(few)], loop(few, exact)
        same = (found.argmax(-1) == wanted.argmax(-1)).double().mean()
        assert same >= 0.999, f"{title}: {same:.2%} of the decisions are alike"
        ours, theirs = f"{title}, metabench", f"{title}, scikit-learn"
        least = compare({ours: lambda: method.classify(e), theirs: lambda: loop(few, fit)}, n)
    ratio = least[theirs] / len(few) * len(e) / least[ours]
    print(
        f"{title}: {same:.2%} of the decisions alike; an episode of scikit-learn's ×{ratio:.1f}\n"
    )
    return ratio


def main(
    repeats: int = 7,
    logistic: Sequence[tuple[int, int, int]] = LOGISTIC,
    others: Sequence[tuple[int, int, int]] = OTHERS,
) -> dict[str, float]:
    """Check that both agree, then time them; the ratios."""
    configure()
    ratios = {}
    for form in logistic:
        ways, shots, width = form
        title = f"logistic {ways}w{shots}s, {width} dimensions"
        method = head("linear_probe", ways, width, c=C)
        sides = by_logistic(1e-4), by_logistic(1e-8)
        ratios[title] = contest(title, method, episodes(*form), *sides, repeats)
    for form in others:
        ways, shots, width = form
        heads: dict[str, tuple[FeatureMethod, Fit]] = {
            "ridge": (head("ridge", ways, width, penalty=PENALTY), by_ridge),
            "nearest mean": (head("simpleshot", ways, width), by_centroid),
            "nearest neighbours": (head("knn", ways, width, k=NEIGHBOURS), by_neighbours),
            "discriminants": (head("lda", ways, width, shrinkage=SHRINKAGE), by_discriminants),
        }
        for name, (method, fit) in heads.items():
            title = f"{name} {ways}w{shots}s, {width} dimensions"
            ratios[title] = contest(title, method, episodes(*form), fit, fit, repeats)
    return ratios


if __name__ == "__main__":
    main()
