"""Conv4 against a plain ``nn.Sequential`` of the layers that the papers list."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones.conv4 import Conv4

WIDTH = 3


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def backbone() -> Conv4:
    torch.manual_seed(0)
    net = Conv4((1, 28, 28), width=WIDTH).double()
    with torch.no_grad():  # negative scales too: pooling before ReLU must still be the same
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return net


def plain(net: Conv4, weights: dict[str, Tensor], pool_last: bool = True) -> nn.Sequential:
    """Four times convolution, batch norm, ReLU, max-pool, with the weights of ``net``."""
    layers: list[nn.Module] = []
    for i in range(4):
        conv = nn.Conv2d(1 if i == 0 else WIDTH, WIDTH, 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(WIDTH, momentum=0)
        conv.weight = nn.Parameter(weights[f"blocks.{i}.conv.weight"])
        norm.weight = nn.Parameter(weights[f"blocks.{i}.norm.weight"])
        norm.bias = nn.Parameter(weights[f"blocks.{i}.norm.bias"])
        layers += [conv, norm, nn.ReLU()]
        if pool_last or i < 3:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers).double()


def test_features_equal_a_plain_conv4_in_eval_mode():
    net = backbone().eval()
    x = images(2, 5, 1, 28, 28)
    expected = plain(net, dict(net.named_parameters())).eval()(x.flatten(0, 1))
    torch.testing.assert_close(net(x), expected.flatten(1).unflatten(0, (2, 5)))


def test_features_equal_a_plain_conv4_in_training_mode():
    net = backbone().train()
    x = images(2, 5, 1, 28, 28)
    expected = plain(net, dict(net.named_parameters())).train()(x.flatten(0, 1))
    torch.testing.assert_close(net(x), expected.flatten(1).unflatten(0, (2, 5)))


def test_per_task_weights_with_support_moments_equal_a_plain_conv4_per_task():
    net, tasks = backbone(), 3
    x = images(tasks, 5, 1, 28, 28)
    weights = {
        name: torch.stack([p + 0.1 * t for t in range(tasks)]) for name, p in net.named_parameters()
    }
    y = net(x, weights, support=5)  # all examples are support: plain training-mode moments
    for t in range(tasks):
        reference = plain(net, {name: w[t] for name, w in weights.items()}).train()
        torch.testing.assert_close(y[t], reference(x[t]).flatten(1))


def test_support_moments_do_not_depend_on_the_queries():
    net = backbone()
    x = images(2, 6, 1, 28, 28)
    y = net(x, support=4)
    torch.testing.assert_close(y[:, :4], net(x[:, :4], support=4))
    changed = x.clone()
    changed[:, 5] = 1 - changed[:, 5]
    torch.testing.assert_close(net(changed, support=4)[:, :5], y[:, :5])


def test_maps_are_the_features_before_the_last_pooling():
    net = backbone().eval()
    x = images(2, 3, 1, 28, 28)
    expected = plain(net, dict(net.named_parameters()), pool_last=False).eval()(x.flatten(0, 1))
    torch.testing.assert_close(net.maps(x), expected.flatten(2).unflatten(0, (2, 3)))


def test_feature_dim_is_what_comes_out():
    net = Conv4((3, 33, 48), width=5)
    assert net(torch.rand(1, 2, 3, 33, 48)).shape == (1, 2, net.feature_dim) == (1, 2, 30)


def test_images_too_small_to_pool_four_times_are_refused():
    with pytest.raises(ValueError, match="16×16"):
        Conv4((1, 15, 28))
