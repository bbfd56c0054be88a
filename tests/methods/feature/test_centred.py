"""Methods on centred, normalised features, against slow references and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from metabench.episodes.source import Source
from metabench.methods.feature.knn import KNN, KNNSettings
from metabench.methods.feature.pca_knn import PCAKNN, PCAKNNSettings
from metabench.methods.feature.simpleshot import SimpleShot
from tests.methods.small import DIM, WAYS, build, episodes


class Few(Source):
    """Twenty source examples."""

    x = torch.randn(20, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 1

    def features(self, embed, limit=5000):
        with torch.no_grad():
            return embed(self.x[None])[0], torch.arange(20) % 4


def cl2n(method, x):
    """The formula, example by example."""
    with torch.no_grad():
        base = np.mean([method.backbone(v[None, None])[0, 0].numpy() for v in Few.x], axis=0)
        rows = [method.backbone(v[None, None])[0, 0].numpy() - base for v in x]
    return np.stack([r / np.linalg.norm(r) for r in rows])


@pytest.fixture(params=[SimpleShot, KNN])
def method(request):
    found = build(request.param, request.param.Settings())
    found.fit_source_statistics(Few())
    return found


def test_features_are_centred_by_the_source_and_of_unit_length(method) -> None:
    batch = episodes()
    found = method.embed(batch.query_x).detach().numpy()
    np.testing.assert_allclose(found[0], cl2n(method, batch.query_x[0]), atol=1e-12)


def test_the_centre_is_saved_with_the_weights(method) -> None:
    other = build(type(method), method.settings)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.predict(episodes()), method.predict(episodes()))
    assert method.centre.abs().max() > 0


def test_simpleshot_takes_the_nearest_class_mean() -> None:
    method, batch = build(SimpleShot, SimpleShot.Settings(scale=3.0)), episodes(support=9)
    method.fit_source_statistics(Few())
    logits = method.predict(batch).numpy()
    for t in range(len(batch)):
        x, q = cl2n(method, batch.support_x[t]), cl2n(method, batch.query_x[t])
        for k in range(WAYS):
            mean = x[batch.support_y[t].numpy() == k].mean(0)
            np.testing.assert_allclose(logits[t, :, k], -3 * ((q - mean) ** 2).sum(1), atol=1e-10)


@pytest.mark.parametrize("k", [1, 4, 50])
def test_the_vote_is_that_of_scikit_learn(k) -> None:
    method, batch = build(KNN, KNNSettings(k=k)), episodes(support=9)
    method.fit_source_statistics(Few())
    found = method.predict(batch).exp().numpy() - 0.01 / WAYS
    for t in range(len(batch)):
        x, q = cl2n(method, batch.support_x[t]), cl2n(method, batch.query_x[t])
        reference = KNeighborsClassifier(min(k, 9), weights="distance")
        reference.fit(x, batch.support_y[t].numpy())
        np.testing.assert_allclose(found[t], reference.predict_proba(q), atol=1e-7)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("variance", [0.6, 0.9])
def test_components_are_those_of_scikit_learn_and_vote_by_angle(whiten, variance) -> None:
    settings = PCAKNNSettings(k=4, variance=variance, whiten=whiten)
    method, batch = build(PCAKNN, settings), episodes(support=9)
    method.fit_source_statistics(Few())
    found = method.predict(batch).exp().detach().numpy() - 0.01 / WAYS
    with torch.no_grad():
        base, f = method.backbone(Few.x[None])[0].numpy(), batch.map(method.backbone)
    pca = PCA(variance, whiten=whiten, svd_solver="full").fit(base)
    assert 1 < pca.n_components_ < base.shape[1]
    for t in range(len(batch)):
        x, q = (pca.transform(v[t].numpy()) for v in (f.support_x, f.query_x))
        x, q = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, q))
        reference = KNeighborsClassifier(4, weights="distance").fit(x, batch.support_y[t].numpy())
        np.testing.assert_allclose(found[t], reference.predict_proba(q), atol=1e-6)


def test_all_components_as_they_are_vote_as_centred_features() -> None:
    knn, pca = build(KNN, KNNSettings()), build(PCAKNN, PCAKNNSettings(variance=1.0, whiten=False))
    for method in (knn, pca):
        method.fit_source_statistics(Few())
    torch.testing.assert_close(pca.predict(episodes()), knn.predict(episodes()))


def test_features_of_a_source_that_never_vary_have_no_components_to_whiten() -> None:
    method = build(PCAKNN, PCAKNNSettings(whiten=True))
    method.variances.zero_()
    assert method.projection().isfinite().all()
