"""Meta-transfer learning: frozen weights under learned scales and shifts; the classifier adapts."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from metabench.backbones.conv4 import Conv4
from metabench.methods.base import Task
from metabench.methods.hybrid.mtl import MTL
from metabench.methods.parts.inner_loop import InnerLoopSettings
from tests.methods.small import (
    WAYS,
    build,
    episodes,
    gradients,
    plain_descent,
    plain_loss,
    plain_network,
    plain_weights,
)

SETTINGS = InnerLoopSettings(inner_lr=0.3, steps=3)


def mtl() -> MTL:
    method = build(MTL, SETTINGS)
    g = torch.Generator().manual_seed(5)
    for phi in (*method.scales, *method.shifts):
        phi.data += 0.3 * torch.randn(phi.shape, generator=g, dtype=torch.float64)
    return method


def test_loss_and_gradient_equal_a_hand_unrolled_loop_over_tasks():
    method, batch, losses = mtl(), episodes(), []
    for t in range(len(batch)):
        w = plain_weights(method)
        w["backbone.layers.0.weight"] = w["backbone.layers.0.weight"] * method.scales[0]
        w["backbone.layers.0.bias"] = w["backbone.layers.0.bias"] + method.shifts[0]
        path = plain_descent(
            w,
            batch.support_x[t],
            batch.support_y[t],
            lambda n, s: 0.3,
            3,
            second_order=True,
            adapted=lambda name: name.startswith("head"),
        )
        losses.append(plain_loss(plain_network(batch.query_x[t], path[-1]), batch.query_y[t]))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(method.outer_loss(batch, 0.0), expected)
    learned = [p for p in method.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(expected, learned)
    method.zero_grad()
    method.outer_loss(batch, 0.0).backward()
    for parameter, slope in zip(learned, slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope)


def test_the_pretrained_weights_are_frozen():
    method = mtl()
    found = gradients(method, episodes())
    assert all(not p.requires_grad for p in method.backbone.parameters())
    assert all(slope.abs().max() == 0 for name, slope in found.items() if "backbone" in name)
    trained = {id(p) for group in method.parameter_groups() for p in group["params"]}
    assert trained.isdisjoint(id(p) for p in method.backbone.parameters())


def test_without_training_the_transferred_weights_are_the_pretrained_ones():
    method = build(MTL, SETTINGS)
    transferred = method.body()
    assert transferred.keys() == dict(method.backbone.named_parameters()).keys()
    for name, weight in method.backbone.named_parameters():
        assert torch.equal(transferred[name], weight)


def test_a_convolution_has_one_scale_per_kernel():
    torch.manual_seed(0)
    method = MTL(Conv4((1, 16, 16), width=2), Task("image", WAYS, 10), SETTINGS)
    assert [tuple(s.shape) for s in method.scales] == [(2, 1, 1, 1)] + 3 * [(2, 2, 1, 1)]
    assert [tuple(s.shape) for s in method.shifts] == 4 * [(2,)]
    method.scales[1].data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None, None]
    kernel = method.backbone.blocks[1].conv.weight
    x = torch.randn(1, 2, 8, 8)
    ours = F.conv2d(x, method.body()["blocks.1.conv.weight"], padding=1)
    for filter_ in range(2):
        parts = [
            (2 * filter_ + channel + 1)
            * F.conv2d(x[:, channel : channel + 1], kernel[filter_, channel][None, None], padding=1)
            for channel in range(2)
        ]
        torch.testing.assert_close(ours[:, filter_], sum(parts)[:, 0])
