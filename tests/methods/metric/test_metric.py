"""Metric methods: each logit against the paper's formula, query by query and class by class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metabench.backbones.conv4 import Conv4
from metabench.backbones.resnet12 import ResNet12
from metabench.episodes import Episodes
from metabench.methods.base import Task
from metabench.methods.metric.dn4 import DN4, DN4Settings
from metabench.methods.metric.feat import FEAT
from metabench.methods.metric.frn import FRN
from metabench.methods.metric.mahalanobis import Mahalanobis, MahalanobisSettings
from metabench.methods.metric.matching_net import MatchingNet, MatchingNetSettings
from metabench.methods.metric.relation_net import RelationNet
from tests.methods.small import WAYS, build, close, episodes, gradients, numeric_gradients


def embedded(method, batch):
    with torch.no_grad():
        f = batch.map(method.embed)
    return f.support_x.numpy(), batch.support_y.numpy(), f.query_x.numpy()


def image_task(method, **settings):
    """A method on a tiny Conv4 with an unbalanced episode of 5 + 4 images."""
    torch.manual_seed(1)
    learner = method(Conv4((1, 28, 28), 6), Task("image", 3, 10), method.Settings(**settings))
    learner = learner.double().eval()
    x = torch.rand(1, 9, 1, 28, 28, dtype=torch.float64)
    y = torch.tensor([[0, 1, 1, 2, 1]])
    return learner, Episodes(x[:, :5], y, x[:, 5:], torch.tensor([[0, 1, 2, 0]]), 3)


def test_matching_net_blends_the_labels_of_the_support() -> None:
    method, batch = build(MatchingNet, MatchingNetSettings(scale=4.0)), episodes(support=7)
    found, (s, y, q) = method.predict(batch).exp().detach().numpy(), embedded(method, batch)
    for t in range(len(batch)):
        for i, x in enumerate(q[t]):
            cos = [x @ z / np.linalg.norm(x) / np.linalg.norm(z) for z in s[t]]
            attention = np.exp(4 * np.array(cos))
            attention /= attention.sum()
            expected = [max(attention[y[t] == k].sum(), 1e-12) for k in range(WAYS)]
            np.testing.assert_allclose(found[t, i], expected, rtol=1e-9)


def test_mahalanobis_measures_each_class_by_its_own_shrunk_covariance() -> None:
    method, batch = build(Mahalanobis, MahalanobisSettings(beta=0.7)), episodes(support=9)
    batch.support_y[0] = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])  # one class has a single shot
    found, (s, y, q) = method.predict(batch).detach().numpy(), embedded(method, batch)
    for t in range(len(batch)):
        task = np.cov(s[t].T)
        for k in range(WAYS):
            own = s[t][y[t] == k]
            n = len(own)
            sigma = np.cov(own.T) if n > 1 else np.zeros_like(task)
            metric = n / (n + 1) * sigma + (1 - n / (n + 1)) * task + 0.7 * np.eye(len(task))
            for i, x in enumerate(q[t]):
                d = x - own.mean(0)
                np.testing.assert_allclose(
                    found[t, i, k], -0.5 * d @ np.linalg.inv(metric) @ d, rtol=1e-7
                )


def test_relation_net_scores_a_query_beside_the_mean_map_of_a_class() -> None:
    method, batch = image_task(RelationNet, hidden=8)
    found, (s, y, q) = method.predict(batch), embedded(method, batch)
    assert s.shape == (1, 5, 6, 9)  # maps of 3×3 positions
    for i in range(4):
        for k in range(3):
            mean = s[0][y[0] == k].mean(0)
            positions = [
                method.local(torch.from_numpy(np.concatenate([mean[:, p], q[0, i, :, p]])))
                for p in range(9)
            ]
            expected = method.score(torch.stack(positions).mean(0))[0]
            torch.testing.assert_close(found[0, i, k], expected)
    target = F.one_hot(batch.query_y, 3).double()
    torch.testing.assert_close(method.loss(batch, 0.0), ((found.sigmoid() - target) ** 2).mean())


def test_frn_scores_by_the_error_of_ridge_reconstruction() -> None:
    method, batch = image_task(FRN)
    with torch.no_grad():
        method.alpha.fill_(0.4), method.beta.fill_(-0.3), method.gamma.fill_(2.0)
    found, (s, y, q) = method.predict(batch).detach().numpy(), embedded(method, batch)
    for i in range(4):
        for k in range(3):
            rows = np.concatenate([m.T for m in s[0][y[0] == k]])  # [n_k·P, C]
            x = q[0, i].T  # [P, C]
            penalty = len(rows) / 6 * np.exp(0.4)
            inner = np.linalg.inv(rows @ rows.T + penalty * np.eye(len(rows)))
            rebuilt = np.exp(-0.3) * x @ rows.T @ inner @ rows
            expected = -2 * ((x - rebuilt) ** 2).sum() / 9
            np.testing.assert_allclose(found[0, i, k], expected, rtol=1e-8)


def test_frn_divides_the_maps_of_resnet12_alone() -> None:
    method, batch = image_task(FRN)
    assert torch.equal(method.embed(batch.query_x), method.backbone.maps(batch.query_x))
    backbone = ResNet12((1, 28, 28), width=2).double().eval()
    method = FRN(backbone, Task("image", 3, 10), FRN.Settings())
    expected = backbone.maps(batch.query_x) / 20**0.5  # ten times the first block's channels
    torch.testing.assert_close(method.embed(batch.query_x), expected)


def test_frn_adds_the_overlap_of_each_pair_of_classes_to_the_loss() -> None:
    method, batch = image_task(FRN, auxiliary=0.5)
    plain, _ = image_task(FRN, auxiliary=0.0)
    s, y, _ = embedded(method, batch)
    s = s[0] / np.linalg.norm(s[0])
    rows = [np.concatenate([m.T for m in s[y[0] == k]]) for k in range(3)]
    overlap = sum(((rows[i] @ rows[j].T) ** 2).sum() for i in range(3) for j in range(i))
    cross_entropy = F.cross_entropy(plain.predict(batch)[0], batch.query_y[0])
    torch.testing.assert_close(plain.loss(batch, 0.0), cross_entropy)
    torch.testing.assert_close(method.loss(batch, 0.0), cross_entropy + 0.5 * overlap)


def test_dn4_sums_the_nearest_descriptors_of_each_class() -> None:
    method, batch = image_task(DN4, neighbours=3, scale=27.0)
    found, (s, y, q) = method.predict(batch).detach().numpy(), embedded(method, batch)

    def unit(v):
        return v / max(np.linalg.norm(v), 1e-12)

    for i in range(4):
        for k in range(3):
            descriptors = [unit(m[:, p]) for m in s[0][y[0] == k] for p in range(9)]
            total = sum(
                sum(sorted(unit(q[0, i, :, p]) @ d for d in descriptors)[-3:]) for p in range(9)
            )  # the paper's sum; 27 terms
            np.testing.assert_allclose(found[0, i, k], total, rtol=1e-9)


def test_dn4_takes_all_descriptors_of_a_class_that_has_few() -> None:
    method, batch = build(DN4, DN4Settings(neighbours=3, scale=1.0)), episodes(support=4)
    batch.support_y[:] = torch.tensor([0, 1, 1, 1])  # one position each; class 2 has none
    found, (s, _, q) = method.predict(batch).detach().numpy(), embedded(method, batch)
    x, z = q[0, 0, :, 0], s[0, 0, :, 0]
    np.testing.assert_allclose(
        found[0, 0, 0], x @ z / max(np.linalg.norm(x) * np.linalg.norm(z), 1e-12), atol=1e-9
    )
    assert (found[..., 2] == -1).all()


def test_feat_starts_as_a_cosine_classifier_and_attends_over_the_classes() -> None:
    method, batch = build(FEAT, FEAT.Settings(scale=5.0)), episodes(support=9)
    s, y, q = embedded(method, batch)

    def expected(adapt):
        logits = np.zeros((len(batch), q.shape[1], WAYS))
        for t in range(len(batch)):
            c = adapt([s[t][y[t] == k].mean(0) for k in range(WAYS)])
            for i, x in enumerate(q[t]):
                for k in range(WAYS):
                    norms = np.linalg.norm(x) * np.linalg.norm(c[k])
                    logits[t, i, k] = 5 * x @ c[k] / norms
        return torch.from_numpy(logits)

    torch.testing.assert_close(method.predict(batch), expected(lambda c: c))
    torch.nn.init.normal_(method.out.weight, generator=torch.Generator().manual_seed(0))
    w = {name: p.detach().numpy() for name, p in method.named_parameters()}

    def attend(c):
        adapted = []
        for a in c:
            scores = [(w["query.weight"] @ a) @ (w["key.weight"] @ b) / len(a) ** 0.5 for b in c]
            weight = np.exp(scores) / np.exp(scores).sum()
            mixed = sum(p * w["value.weight"] @ b for p, b in zip(weight, c, strict=True))
            adapted.append(a + w["out.weight"] @ mixed)
        return adapted

    torch.testing.assert_close(method.predict(batch), expected(attend))


@pytest.mark.parametrize("method", [MatchingNet, Mahalanobis, FEAT, DN4])
def test_the_training_gradient_equals_finite_differences(method) -> None:
    learner, batch = build(method, method.Settings()), episodes(support=8)
    batch.support_y[:, :WAYS] = torch.arange(WAYS)  # a class without support has no direction
    numeric = numeric_gradients(learner, lambda: learner.loss(batch, 0.0))
    close(gradients(learner, batch), numeric, rtol=1e-5)
