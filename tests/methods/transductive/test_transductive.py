"""Transductive methods: each against the paper's formulas, one task and one query at a time."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metabench.backbones import build_backbone
from metabench.config.search import Choice, range_of
from metabench.episodes import Episodes
from metabench.methods.base import Task
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


def rectify(x, y, q, scale, confident):
    """Liu et al., eq. 6 and 7, example by example; ``q`` is shifted."""
    basic, classes = means_of(x, y), range(WAYS)
    likeness = [[unit(v) @ unit(basic[k]) for k in classes] for v in q]
    found = []
    for k in classes:
        mine = [(row[k], v) for row, v in zip(likeness, q, strict=True) if np.argmax(row) == k]
        best = sorted(mine, key=lambda pair: -pair[0])[:confident]
        members = [*x[y == k], *(v for _, v in best)]
        weight = [np.exp(scale * (unit(v) @ unit(basic[k]))) for v in members]
        found.append(sum(w * v for w, v in zip(weight, members, strict=True)) / sum(weight))
    return np.stack(found)


@pytest.mark.parametrize("confident", [1, 2, 50])
def test_bd_cspn_shifts_the_queries_and_rectifies_the_prototypes(confident) -> None:
    method = build(BDCSPN, BDCSPNSettings(scale=6.0, confident=confident))
    batch = batch_of(queries=11)
    found = method.predict(batch).numpy()
    for t in range(len(batch)):
        x, y, q = embedded(method, batch, t)
        q = q + x.mean(0) - q.mean(0)
        prototypes = rectify(x, y, q, 6.0, confident)
        np.testing.assert_allclose(found[t], 6 * unit(q) @ unit(prototypes).T, rtol=1e-9)


def test_with_no_bias_between_classes_bd_cspn_rectifies_the_unshifted_queries() -> None:
    batch = batch_of(support=WAYS)  # the queries are the support, twice
    copies = replace(batch, query_x=torch.cat([batch.support_x, batch.support_x], dim=1))
    features = copies.map(lambda x: F.normalize(x, dim=-1))
    cosines = features.query_x @ features.support_x.mT  # all pull a prototype to where it is
    order = torch.argsort(batch.support_y)  # prototypes by class
    expected = 10 * cosines.gather(2, order[:, None].expand_as(cosines))
    found = build(BDCSPN, BDCSPNSettings()).classify(features)
    torch.testing.assert_close(found, expected)


def test_laplacian_shot_follows_its_updates() -> None:
    s = LaplacianShotSettings(regularisation=0.6, neighbours=2, steps=5, scale=4.0, confident=3)
    method, batch = build(LaplacianShot, s), batch_of(queries=11)
    found = method.predict(batch).numpy()
    for t in range(len(batch)):
        x, y, q = embedded(method, batch, t)
        q = q + x.mean(0) - q.mean(0)
        unary = np.array([[((v - m) ** 2).sum() for m in rectify(x, y, q, 4.0, 3)] for v in q])
        w = neighbours_of(q, 2)
        logits = -unary
        for _ in range(5):
            p = softmax(logits)
            pull = [sum((w[i, j] + w[j, i]) / 2 * p[j] for j in range(11)) for i in range(11)]
            logits = -unary + 0.6 * np.stack(pull)
        np.testing.assert_allclose(found[t], logits, rtol=1e-9)


def neighbours_of(q, count):
    """w_ij is one where j is among the ``count`` queries nearest to i."""
    w = np.zeros((len(q), len(q)))
    for i, v in enumerate(q):
        distance = [np.inf if i == j else ((v - z) ** 2).sum() for j, z in enumerate(q)]
        w[i, np.argsort(distance)[:count]] = 1
    return w


def test_the_energy_of_laplacian_shot_never_rises_but_on_a_graph_of_one_direction() -> None:
    weight = 0.7
    method = build(LaplacianShot, LaplacianShotSettings(regularisation=weight, steps=0))
    rises = 0
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        q = torch.randn(1, 30, 4, generator=g, dtype=torch.float64)
        unary = 3 * torch.rand(30, WAYS, generator=g, dtype=torch.float64).numpy()
        graph = method.graph(q)[0].numpy()
        directed = neighbours_of(q[0].numpy(), 2)
        assert weight * np.linalg.eigvalsh(graph)[0] >= -2  # what the proof asks for

        def energy(y, w=graph, a=unary):
            return (y * (np.log(y) + a - weight / 2 * w @ y)).sum()

        for w in (graph, directed):
            y = softmax(-unary)
            path = [energy(y)]
            for _ in range(8):
                y = softmax(-unary + weight * w @ y)
                path.append(energy(y))
            if w is graph:
                assert np.diff(path).max() <= 1e-12
            else:
                rises += np.diff(path).max() > 1e-12
    assert rises > 0


def test_the_graph_of_laplacian_shot_has_the_energy_of_its_nearest_neighbours() -> None:
    method = build(LaplacianShot, LaplacianShotSettings(neighbours=3))
    draw = np.random.default_rng(0)
    q = draw.normal(size=(12, 4))
    graph, directed = method.graph(torch.from_numpy(q)[None])[0].numpy(), neighbours_of(q, 3)
    for _ in range(5):
        y = np.eye(WAYS)[draw.integers(WAYS, size=12)]
        apart = ((y[:, None] - y) ** 2).sum(-1)
        np.testing.assert_allclose((graph * apart).sum(), (directed * apart).sum())


def test_queries_that_are_equally_near_are_neighbours_alike_and_one_alone_has_none() -> None:
    method = build(LaplacianShot, LaplacianShotSettings(neighbours=1))
    corners = torch.tensor([[[0.0], [1.0], [-1.0], [5.0]]], dtype=torch.float64)
    expected = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0.5], [1, 0, 0, 0], [0, 0.5, 0, 0]]).double()
    torch.testing.assert_close(method.graph(corners)[0], expected)
    assert method.graph(corners[:, :1]).tolist() == [[[0.0]]]


def test_without_regularisation_laplacian_shot_is_the_nearest_rectified_prototype() -> None:
    s = LaplacianShotSettings(regularisation=0.0, scale=4.0)
    method, batch = build(LaplacianShot, s), batch_of()
    x, y, q = embedded(method, batch, 0)
    q = q + x.mean(0) - q.mean(0)
    expected = -((q[:, None] - rectify(x, y, q, 4.0, 30)) ** 2).sum(-1)
    np.testing.assert_allclose(method.predict(batch)[0].numpy(), expected, atol=1e-12)


def test_pt_map_assigns_equally_many_queries_to_every_class_by_optimal_transport() -> None:
    method = build(PTMAP, PTMAPSettings(sweeps=500, inverse_temperature=0.5))
    g = torch.Generator().manual_seed(0)
    query, centres = (torch.randn(2, n, 5, generator=g, dtype=torch.float64) for n in (6, WAYS))
    log_m, _ = method.assign(query, centres, torch.zeros(2, 1, WAYS, dtype=torch.float64))
    torch.testing.assert_close(log_m.exp().sum(2), torch.ones(2, 6, dtype=log_m.dtype))
    torch.testing.assert_close(log_m.exp().sum(1), torch.full((2, WAYS), 2.0).to(log_m))
    # the one matrix of these sums that is optimal: log M + λ d is a row term plus a column term
    rest = log_m + 0.5 * (query[:, :, None] - centres[:, None]).square().sum(-1)
    rest = rest - rest.mean(1, keepdim=True)
    torch.testing.assert_close(rest, rest.mean(2, keepdim=True).expand_as(rest))


def test_pt_map_alternates_assignment_and_centres() -> None:
    s = PTMAPSettings(power=0.5, inverse_temperature=1.0, step_size=0.3, steps=3, sweeps=300)
    method, batch = build(PTMAP, s), batch_of()
    found = method.predict(batch).exp().numpy()

    def sinkhorn(m):
        for _ in range(1000):
            m = m / m.sum(0) * (len(m) / m.shape[1])
            m = m / m.sum(1, keepdims=True)
        return m

    for t in range(len(batch)):
        with torch.no_grad():
            raw = batch.map(method.backbone)
        parts = []
        for f in (raw.support_x[t].numpy(), raw.query_x[t].numpy()):
            f = unit(np.sign(f) * (np.abs(f) + 1e-6) ** 0.5)
            parts.append(unit(f - f.mean(0)))
        (x, q), y = parts, batch.support_y[t].numpy()
        c = means_of(x, y)
        for _ in range(3):
            m = sinkhorn(np.exp(-((q[:, None] - c) ** 2).sum(-1)))
            for k in range(WAYS):
                mu = (x[y == k].sum(0) + m[:, k] @ q) / ((y == k).sum() + m[:, k].sum())
                c[k] += 0.3 * (mu - c[k])
        expected = sinkhorn(np.exp(-((q[:, None] - c) ** 2).sum(-1)))
        np.testing.assert_allclose(found[t], expected, rtol=1e-7)


@pytest.mark.parametrize("method", [BDCSPN, LaplacianShot, PTMAP])
def test_a_shift_of_all_queries_changes_nothing(method) -> None:
    learner, features = build(method, method.Settings()), batch_of(queries=11)
    shift = torch.linspace(-1, 2, features.query_x.shape[-1], dtype=torch.float64)
    moved = replace(features, query_x=features.query_x + shift)
    torch.testing.assert_close(learner.classify(moved), learner.classify(features))


@pytest.mark.parametrize("moments", ["source", "support"])
def test_transductive_fine_tuning_adds_the_entropy_of_the_queries(moments) -> None:
    chosen = {"finetune_lr": 0.05, "head_lr": 0.2, "momentum": 0.0, "moments": moments}
    settings = TransductiveFineTune.Settings(**chosen, steps=1, entropy=0.7)
    method, batch = build(TransductiveFineTune, settings), batch_of()
    found = method.predict(batch)
    for t in range(len(batch)):
        net = copy.deepcopy(method.backbone)
        x, y, q = batch.support_x[t], batch.support_y[t], batch.query_x[t]

        def features(v, net=net):
            return net(v[None])[0]  # no batch norms: whose moments they are does not matter

        means = torch.stack([features(x)[y == k].mean(0) for k in range(WAYS)])
        w = (means / means.norm(dim=1, keepdim=True)).detach().requires_grad_()
        b = torch.zeros(WAYS, dtype=w.dtype, requires_grad=True)

        def logits(v, w=w, b=b, features=features):
            f = features(v)
            return f / f.norm(dim=1, keepdim=True) @ w.T + b

        entropy = torch.stack([-(r * r.log()).sum() for r in logits(q).softmax(-1)]).mean()
        loss = F.cross_entropy(logits(x), y) + 0.7 * entropy
        parameters = [*net.parameters(), w, b]
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, g in zip(parameters, slopes, strict=True):
                p -= (0.2 if p is w or p is b else 0.05) * g
            torch.testing.assert_close(found[t], logits(q))


def test_normalisation_of_transductive_fine_tuning_sees_the_support_and_no_query() -> None:
    """With the support's moments and no entropy term, other queries are of no influence."""
    torch.manual_seed(0)
    chosen = {"moments": "support", "entropy": 0.0, "steps": 2}
    backbone = build_backbone("conv4", (1, 16, 16), width=4)
    settings = TransductiveFineTune.Settings(**chosen)
    method = TransductiveFineTune(backbone, Task("image", 3, 6), settings).double().eval()
    x = torch.rand(1, 8, 1, 16, 16, dtype=torch.float64)
    labels = torch.tensor([[0, 1, 2]])
    batch = Episodes(x[:, :3], labels, x[:, 3:], torch.zeros(1, 5, dtype=torch.int64), 3)
    alone = replace(batch, query_x=batch.query_x[:, :1], query_y=batch.query_y[:, :1])
    torch.testing.assert_close(method.predict(batch)[:, :1], method.predict(alone))


def test_the_search_of_transductive_fine_tuning_may_stay_where_it_starts() -> None:
    within = range_of(TransductiveFineTune.Settings.model_fields["steps"])
    assert isinstance(within, Choice) and 0 in within.values


@pytest.mark.parametrize("method", [TIM, BDCSPN, LaplacianShot, PTMAP, TransductiveFineTune])
def test_each_says_that_it_is_transductive_and_is(method) -> None:
    learner, batch = build(method, method.Settings()), batch_of()
    before = learner.predict(batch)
    batch.query_x[:, 1:] += 1.0
    assert method.transductive
    assert (learner.predict(batch)[:, 0] - before[:, 0]).abs().max() > 1e-6
