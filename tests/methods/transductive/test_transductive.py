"""Transductive methods: each against the paper's formulas, one task and one query at a time."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metabench.methods.transductive.bd_cspn import BDCSPN, BDCSPNSettings
from metabench.methods.transductive.laplacian_shot import LaplacianShot, LaplacianShotSettings
from metabench.methods.transductive.pt_map import PTMAP, PTMAPSettings
from metabench.methods.transductive.tim import TIM, TIMSettings
from metabench.methods.transductive.transductive_fine_tune import TransductiveFineTune
from tests.methods.small import WAYS, build, episodes


def embedded(method, batch, t):
    with torch.no_grad():
        f = batch.map(method.embed)
    return f.support_x[t].numpy(), batch.support_y[t].numpy(), f.query_x[t].numpy()


def batch_of(support: int = 9, queries: int = 6):
    batch = episodes(support=support, queries=queries)
    batch.support_y[:, :WAYS] = torch.arange(WAYS)  # no class is empty
    return batch


def means_of(s, y):
    return np.stack([s[y == k].mean(0) for k in range(WAYS)])


def softmax(v):
    e = np.exp(v - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def test_tim_maximises_mutual_information_by_adam() -> None:
    s = TIMSettings(temperature=3.0, support=0.5, conditional=0.2, head_lr=0.05, steps=8)
    method, batch = build(TIM, s), batch_of()
    found = method.predict(batch)
    for t in range(len(batch)):
        x, y, q = (torch.from_numpy(v) for v in embedded(method, batch, t))
        w = torch.from_numpy(means_of(x.numpy(), y.numpy())).requires_grad_()
        adam = torch.optim.Adam([w], lr=0.05)

        def logits(v, w=w):
            return torch.stack([-1.5 * ((v - c) ** 2).sum(-1) for c in w], dim=-1)

        for _ in range(8):
            p = logits(q).softmax(-1)
            conditional = torch.stack([-(r * r.log()).sum() for r in p]).mean()
            marginal = p.mean(0)
            entropy = -(marginal * marginal.log()).sum()
            loss = 0.5 * F.cross_entropy(logits(x), y) + 0.2 * conditional - entropy
            adam.zero_grad()
            loss.backward()
            adam.step()
        torch.testing.assert_close(found[t], logits(q).detach())


def test_bd_cspn_shifts_the_queries_and_rectifies_the_prototypes() -> None:
    method, batch = build(BDCSPN, BDCSPNSettings(scale=6.0)), batch_of()
    found = method.predict(batch).numpy()
    for t in range(len(batch)):
        x, y, q = embedded(method, batch, t)
        q = q + x.mean(0) - q.mean(0)
        basic = means_of(x, y)
        belief = softmax(6 * unit(q) @ unit(basic).T)
        for k in range(WAYS):
            total, weight = np.zeros(x.shape[1]), 0.0
            for v, label in zip(x, y, strict=True):
                if label == k:
                    total, weight = total + v, weight + 1
            for v, b in zip(unit(q), belief, strict=True):
                total, weight = total + b[k] * v, weight + b[k]
            np.testing.assert_allclose(
                found[t, :, k], 6 * unit(q) @ unit(total / weight), rtol=1e-9
            )


def test_laplacian_shot_follows_its_updates_and_lowers_its_energy() -> None:
    s = LaplacianShotSettings(regularisation=0.6, neighbours=2, steps=5)
    method, batch = build(LaplacianShot, s), batch_of()
    found = method.predict(batch).numpy()
    for t in range(len(batch)):
        x, y, q = embedded(method, batch, t)
        unary = np.array([[((v - m) ** 2).sum() for m in means_of(x, y)] for v in q])
        near = []
        for i, v in enumerate(q):
            d = [np.inf if j == i else ((v - z) ** 2).sum() for j, z in enumerate(q)]
            near.append(np.argsort(d)[:2])
        logits = -unary
        for _ in range(5):
            p = softmax(logits)
            logits = -unary + 0.6 * np.stack([p[n].sum(0) for n in near])
        np.testing.assert_allclose(found[t], logits, rtol=1e-9)


def test_without_regularisation_laplacian_shot_is_the_nearest_class_mean() -> None:
    method, batch = build(LaplacianShot, LaplacianShotSettings(regularisation=0.0)), batch_of()
    x, y, q = embedded(method, batch, 0)
    expected = -((q[:, None] - means_of(x, y)) ** 2).sum(-1)
    np.testing.assert_allclose(method.predict(batch)[0].numpy(), expected, atol=1e-12)


def test_pt_map_assigns_equally_many_queries_to_every_class() -> None:
    method, batch = build(PTMAP, PTMAPSettings(sweeps=500)), batch_of()
    p = method.predict(batch).exp()
    torch.testing.assert_close(p.sum(2), torch.ones(len(batch), 6, dtype=p.dtype))
    torch.testing.assert_close(
        p.sum(1), torch.full((len(batch), WAYS), 2.0).to(p), atol=0.01, rtol=0
    )


def test_pt_map_alternates_assignment_and_centres() -> None:
    s = PTMAPSettings(power=0.5, inverse_temperature=4.0, step_size=0.3, steps=3, sweeps=15)
    method, batch = build(PTMAP, s), batch_of()
    found = method.predict(batch).exp().numpy()

    def sinkhorn(m):
        for _ in range(15):
            m = m / m.sum(0) * (len(m) / m.shape[1])
            m = m / m.sum(1, keepdims=True)
        return m

    for t in range(len(batch)):
        with torch.no_grad():
            raw = batch.map(method.backbone)
        f = np.concatenate([raw.support_x[t], raw.query_x[t]])
        f = unit(np.sign(f) * (np.abs(f) + 1e-6) ** 0.5)
        f = unit(f - f.mean(0))
        x, y, q = f[:9], batch.support_y[t].numpy(), f[9:]
        c = means_of(x, y)
        for _ in range(3):
            m = sinkhorn(np.exp(-4 * ((q[:, None] - c) ** 2).sum(-1)))
            for k in range(WAYS):
                mu = (x[y == k].sum(0) + m[:, k] @ q) / ((y == k).sum() + m[:, k].sum())
                c[k] += 0.3 * (mu - c[k])
        expected = sinkhorn(np.exp(-4 * ((q[:, None] - c) ** 2).sum(-1)))
        np.testing.assert_allclose(found[t], expected, rtol=1e-7)


def test_transductive_fine_tuning_adds_the_entropy_of_the_queries() -> None:
    settings = TransductiveFineTune.Settings(finetune_lr=0.05, head_lr=0.2, momentum=0.0, steps=1)
    method, batch = build(TransductiveFineTune, settings), batch_of()
    found = method.predict(batch)
    for t in range(len(batch)):
        net = copy.deepcopy(method.backbone)
        start = method.head_start(batch)
        w = start["head.weight"][t].detach().requires_grad_()
        b = start["head.bias"][t].detach().requires_grad_()
        p = F.linear(net(batch.query_x[t][None])[0], w, b).softmax(-1)
        entropy = torch.stack([-(r * r.log()).sum() for r in p]).mean()
        support = F.linear(net(batch.support_x[t][None])[0], w, b)
        loss = F.cross_entropy(support, batch.support_y[t]) + entropy
        parameters = list(net.parameters())
        slopes = torch.autograd.grad(loss, [*parameters, w, b])
        with torch.no_grad():
            for p_, g in zip(parameters, slopes, strict=False):
                p_ -= 0.05 * g
            w, b = w - 0.2 * slopes[-2], b - 0.2 * slopes[-1]
            expected = F.linear(net(batch.query_x[t][None])[0], w, b)
        torch.testing.assert_close(found[t], expected)


@pytest.mark.parametrize("method", [TIM, BDCSPN, LaplacianShot, PTMAP, TransductiveFineTune])
def test_each_says_that_it_is_transductive_and_is(method) -> None:
    learner, batch = build(method, method.Settings()), batch_of()
    before = learner.predict(batch)
    batch.query_x[:, 1:] += 1.0
    assert method.transductive
    assert (learner.predict(batch)[:, 0] - before[:, 0]).abs().max() > 1e-6
