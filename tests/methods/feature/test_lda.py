"""Linear discriminants with the source's covariance, against scikit-learn; a memorised source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from metabench.backbones.mlp import MLP
from metabench.episodes.sampling import assemble
from metabench.episodes.source import Source
from metabench.methods.base import FeatureMethod, Task
from metabench.methods.feature.lda import LDA, LDASettings
from metabench.methods.feature.simpleshot import SimpleShot
from tests.methods.small import DIM, build, episodes


class Groups(Source):
    """Four classes of correlated points, with labels that have gaps."""

    def features(self, embed, limit=5000, augmentation=0.0):
        g = torch.Generator().manual_seed(2)
        x = torch.randn(60, DIM, generator=g, dtype=torch.float64)
        x = x @ torch.randn(DIM, DIM, generator=g, dtype=torch.float64)
        y = 3 * (torch.arange(60) % 4)
        with torch.no_grad():
            return embed((x + y[:, None])[None])[0], y


class Known(LedoitWolf):
    """A covariance estimator that returns what it was given."""

    def fit(self, x, y=None):
        self.covariance_ = self.assumed
        return self


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_probabilities_are_those_of_scikit_learn_with_the_source_covariance(shrinkage) -> None:
    settings = LDASettings(scale=1.0, shrinkage=shrinkage)
    method, batch = build(LDA, settings), episodes(support=9)
    method.fit_source_statistics(Groups())
    features, labels = Groups().features(method.backbone)
    centre, y = features.numpy().mean(0), labels.numpy()

    def cl2n(v):
        return (v - centre) / np.linalg.norm(v - centre, axis=-1, keepdims=True)

    x = cl2n(features.numpy())
    residual = np.concatenate([x[y == k] - x[y == k].mean(0) for k in np.unique(y)])
    sigma = LedoitWolf(assume_centered=True).fit(residual).covariance_
    estimator = Known()
    estimator.assumed = (1 - shrinkage) * sigma + shrinkage * np.trace(sigma) / 7 * np.eye(7)
    found = method.predict(batch).softmax(-1).numpy()
    with torch.no_grad():
        f = batch.map(method.backbone)
    for t in range(len(batch)):
        reference = LinearDiscriminantAnalysis(
            solver="lsqr", covariance_estimator=estimator, priors=[1 / 3] * 3
        ).fit(cl2n(f.support_x[t].numpy()), batch.support_y[t].numpy())
        # scikit-learn pools covariances weighted by priors: with one estimate that is the estimate
        np.testing.assert_allclose(
            found[t], reference.predict_proba(cl2n(f.query_x[t].numpy())), atol=1e-8
        )


class Memorised(Source):
    """Points of 40 classes that lie apart in six of their 48 dimensions.

    A backbone learns by heart, in about a second, which of 40 names drawn at random each has.
    """

    CLASSES, EACH, SIZE, SIGNAL = 40, 10, 48, 6

    def __init__(self) -> None:
        self.g = torch.Generator().manual_seed(0)
        self.x = self.points(self.CLASSES, self.EACH).flatten(0, 1)
        self.y = torch.arange(len(self.x))[torch.randperm(len(self.x), generator=self.g)]
        self.y = self.y % self.CLASSES
        torch.manual_seed(0)
        self.backbone, head = MLP((self.SIZE,), (256,)), nn.Linear(256, self.CLASSES)
        weights = [*self.backbone.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(weights, 3e-3)
        for _ in range(120):
            loss = F.cross_entropy(head(self.backbone(self.x[None])[0]), self.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.loss = loss.item()
        new = self.points(5 * 100, 20).view(100, 5, 20, self.SIZE)
        self.episodes = assemble(new, shots=5)

    def points(self, classes: int, each: int) -> Tensor:
        """``[classes, each, SIZE]``; different classes at every call."""
        x = torch.randn(classes, each, self.SIZE, generator=self.g)
        x[..., : self.SIGNAL] += 3 * torch.randn(classes, 1, self.SIGNAL, generator=self.g)
        return x

    def features(self, embed, limit=5000, augmentation=0.0):
        with torch.no_grad():
            return embed(self.x[None])[0], self.y

    def accuracy(self, cls: type[FeatureMethod], source: Source | None = None, **settings) -> float:
        """Per cent on new classes, of statistics of this source or another."""
        task = Task("vector", 5, self.CLASSES)
        method = cls(self.backbone, task, cls.Settings(**settings)).eval()
        method.fit_source_statistics(source or self)
        right = method.predict(self.episodes).argmax(-1) == self.episodes.query_y
        return 100 * right.float().mean().item()


@pytest.fixture(scope="module")
def memorised() -> Memorised:
    found = Memorised()
    assert found.loss < 0.02
    return found


def test_memorised_examples_do_not_carry_lda_away_from_the_nearest_mean(memorised) -> None:
    nearest_mean = memorised.accuracy(SimpleShot)
    assert memorised.accuracy(LDA, shrinkage=0.0) < nearest_mean - 10  # as it once was
    assert memorised.accuracy(LDA) > nearest_mean - 4
    assert memorised.accuracy(LDA, shrinkage=1.0) == nearest_mean


def test_the_mean_feature_does_not_suffer_from_memorised_examples(memorised) -> None:
    class Unseen(Source):
        def features(self, embed, limit=5000, augmentation=0.0):
            with torch.no_grad():
                return embed(memorised.points(40, 50).flatten(0, 1)[None])[0], torch.zeros(2000)

    unseen = memorised.accuracy(SimpleShot, Unseen())
    assert memorised.accuracy(SimpleShot) == pytest.approx(unseen, abs=1)
