"""The logistic probes (linear_probe, random_features, rfs) against scikit-learn and plain torch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from metabench.episodes.source import Examples
from metabench.methods.control.random_features import RandomFeatures
from metabench.methods.feature.linear_probe import LinearProbe
from metabench.methods.feature.rfs import RFS, RFSSettings
from tests.methods.small import build, check_slopes, episodes


@pytest.mark.parametrize("method", [LinearProbe, RandomFeatures, RFS])
@pytest.mark.parametrize("c", [0.3, 10.0])
def test_probabilities_are_those_of_scikit_learn_on_unit_features(method, c) -> None:
    learner = build(method, method.Settings(c=c))
    for p in learner.backbone.parameters():
        p.data = p.data.cos()  # RFS's student, whose features count, has left its teacher
    batch = episodes(support=9)
    found = learner.predict(batch).softmax(-1).detach().numpy()
    with torch.no_grad():
        f = batch.map(learner.backbone)
    for t in range(len(batch)):
        x, q = (F.normalize(v[t], dim=-1).numpy() for v in (f.support_x, f.query_x))
        y = batch.support_y[t].numpy()
        assert len(set(y)) == batch.ways
        reference = LogisticRegression(C=c, tol=1e-12, max_iter=10_000).fit(x, y)
        np.testing.assert_allclose(found[t], reference.predict_proba(q), atol=1e-5)


def test_only_the_weights_tell_random_features_from_the_linear_probe() -> None:
    a, b = build(LinearProbe, LinearProbe.Settings()), build(RandomFeatures, LinearProbe.Settings())
    assert torch.equal(a.predict(episodes()), b.predict(episodes()))
    assert (a.start, b.start) == ("pretrained", "random")


def distilling() -> tuple[RFS, Examples]:
    learner = build(RFS, RFSSettings(alpha=0.3, beta=0.7, temperature=3.0))
    g = torch.Generator().manual_seed(3)
    x = torch.randn(8, 5, generator=g, dtype=torch.float64)
    return learner, Examples(x, torch.randint(10, (8,), generator=g))


def test_the_distillation_loss_is_cross_entropy_plus_divergence_from_the_teacher() -> None:
    learner, batch = distilling()
    with torch.no_grad():
        for p in learner.backbone.parameters():
            p.mul_(1.3)  # the student has moved, the teacher has not
    w, expected = {n: v.numpy() for n, v in learner.state_dict().items()}, 0.0

    def probabilities(x: np.ndarray, who: str, temperature: float) -> np.ndarray:
        hidden = np.maximum(w[f"{who}backbone.layers.0.weight"] @ x + biases[who], 0)
        logits = w[f"{who}head.weight"] @ hidden + w[f"{who}head.bias"]
        return np.exp(logits / temperature) / np.exp(logits / temperature).sum()

    biases = {who: w[f"{who}backbone.layers.0.bias"] for who in ("", "teacher.")}
    for x, y in zip(batch.x.numpy(), batch.y, strict=True):
        expected -= 0.3 * np.log(probabilities(x, "", 1)[y]) / len(batch.y)
        soft, target = probabilities(x, "", 3), probabilities(x, "teacher.", 3)
        expected += 0.7 * 9 * (target * np.log(target / soft)).sum() / len(batch.y)
    assert learner.loss(batch, 0.0).item() == pytest.approx(expected)
    check_slopes(learner, lambda: learner.loss(batch, 0.0))


def test_the_teacher_starts_at_the_pretrained_network_and_never_moves() -> None:
    learner, batch = distilling()
    pretrained = {
        name: torch.randn_like(value)
        for name, value in learner.state_dict().items()
        if not name.startswith("teacher.")
    }
    learner.start_from(pretrained)
    before = copy.deepcopy(learner.teacher.state_dict())
    assert before.keys() == pretrained.keys()
    assert all(torch.equal(before[n], pretrained[n]) for n in before)
    learner.train()
    learner.loss(batch, 0.0).backward()
    assert all(p.grad is None for p in learner.teacher.parameters())
    assert all(p.grad is not None for p in learner.backbone.parameters())
    assert learner.training and not learner.teacher.training
