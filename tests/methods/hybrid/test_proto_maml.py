"""Proto-MAML: the head starts as a prototypical network and the gradient goes through that."""

from __future__ import annotations

import torch

from metabench.episodes import class_means
from metabench.methods.hybrid.proto_maml import ProtoMAML
from metabench.methods.parts.distances import squared_euclidean
from metabench.methods.parts.inner_loop import InnerLoopSettings
from tests.methods.small import (
    WAYS,
    build,
    close,
    episodes,
    gradients,
    plain_descent,
    plain_loss,
    plain_network,
)

SETTINGS = InnerLoopSettings(inner_lr=0.1, steps=2)


def test_before_adaptation_it_is_a_prototypical_network():
    method, batch = build(ProtoMAML, SETTINGS), episodes()
    (logits,) = method.predict_after(batch, [0])
    embedded = batch.map(method.backbone)
    means = class_means(embedded.support_x, batch.support_y, WAYS)
    expected = -squared_euclidean(embedded.query_x, means)
    torch.testing.assert_close(logits.log_softmax(-1), expected.log_softmax(-1))


def test_loss_and_gradient_equal_a_hand_unrolled_loop_over_tasks():
    method, batch, losses = build(ProtoMAML, SETTINGS), episodes(support=9), []
    for t in range(len(batch)):
        w = dict(method.named_parameters())
        x, y = batch.support_x[t], batch.support_y[t]
        assert y.unique().tolist() == list(range(WAYS))
        features = torch.relu(x @ w["backbone.layers.0.weight"].T + w["backbone.layers.0.bias"])
        means = torch.stack([features[y == k].mean(0) for k in range(WAYS)])
        # copies: the inner loop takes the head as it is, not as a function of the weights
        w = {name: p.clone() for name, p in w.items()}
        w["head.weight"], w["head.bias"] = 2 * means, -(means**2).sum(1)
        end = plain_descent(w, x, y, lambda n, s: 0.1, 2, second_order=True)[-1]
        losses.append(plain_loss(plain_network(batch.query_x[t], end), batch.query_y[t]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(method.outer_loss(batch, 0.0), expected)
    names = [name for name, _ in method.named_parameters()]
    slopes = torch.autograd.grad(expected, list(method.parameters()))
    close(gradients(method, batch), dict(zip(names, slopes, strict=True)))
