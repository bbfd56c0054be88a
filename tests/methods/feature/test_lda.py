"""Linear discriminants with the source's covariance, against scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from metabench.episodes.source import Source
from metabench.methods.feature.lda import LDA, LDASettings
from tests.methods.small import DIM, build, episodes


class Groups(Source):
    """Four classes of correlated points, with labels that have gaps."""

    def features(self, embed, limit=5000):
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


def test_probabilities_are_those_of_scikit_learn_with_the_source_covariance() -> None:
    method, batch = build(LDA, LDASettings(scale=1.0)), episodes(support=9)
    method.fit_source_statistics(Groups())
    features, labels = Groups().features(method.backbone)
    x, y = features.numpy(), labels.numpy()
    residual = np.concatenate([x[y == k] - x[y == k].mean(0) for k in np.unique(y)])
    estimator = Known()
    estimator.assumed = LedoitWolf(assume_centered=True).fit(residual).covariance_
    found = method.predict(batch).softmax(-1).numpy()
    with torch.no_grad():
        f = batch.map(method.backbone)
    for t in range(len(batch)):
        reference = LinearDiscriminantAnalysis(
            solver="lsqr", covariance_estimator=estimator, priors=[1 / 3] * 3
        ).fit(f.support_x[t].numpy(), batch.support_y[t].numpy())
        # scikit-learn pools covariances weighted by priors: with one estimate that is the estimate
        np.testing.assert_allclose(
            found[t], reference.predict_proba(f.query_x[t].numpy()), atol=1e-8
        )
