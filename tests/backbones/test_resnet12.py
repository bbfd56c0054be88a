"""ResNet-12 against the blocks that the papers draw, written in plain ``torch.nn``."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones import build_backbone
from metabench.backbones.resnet12 import ResNet12, drop_block
from metabench.files import InputError

WIDTH = 2
WIDTHS = (2, 5, 10, 20)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def backbone(side: int = 32, **settings: float) -> ResNet12:
    torch.manual_seed(0)
    net = ResNet12((3, side, side), width=WIDTH, **settings).double()  # type: ignore[arg-type]
    with torch.no_grad():  # negative scales too: pooling before the ReLU must still be the same
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return net


class PlainBlock(nn.Module):
    """Lee et al. 2019, ``BasicBlock``: conv-norm-act twice, conv-norm, add, act, pool."""

    def __init__(self, channels: int, width: int, pool: bool):
        super().__init__()

        def unit(c: int, side: int) -> list[nn.Module]:
            conv = nn.Conv2d(c, width, side, padding=side // 2, bias=False)
            return [conv, nn.BatchNorm2d(width, momentum=0)]

        act = nn.LeakyReLU(0.1)
        self.main = nn.Sequential(*unit(channels, 3), act, *unit(width, 3), act, *unit(width, 3))
        self.short = nn.Sequential(*unit(channels, 1))
        self.end = nn.Sequential(act, nn.MaxPool2d(2) if pool else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.main(x) + self.short(x))


def plain(weights: dict[str, Tensor], pool_last: bool = True) -> nn.Sequential:
    """The four blocks with the weights of a :class:`ResNet12`."""
    blocks: list[nn.Module] = []
    for i, (channels, width) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
        block = PlainBlock(channels, width, pool_last or i < 3).double()
        mine = {}
        for j in range(3):
            mine[f"main.{3 * j}.weight"] = weights[f"blocks.{i}.convs.{j}.weight"]
            for part in ("weight", "bias"):
                mine[f"main.{3 * j + 1}.{part}"] = weights[f"blocks.{i}.norms.{j}.{part}"]
        mine["short.0.weight"] = weights[f"blocks.{i}.shortcut.weight"]
        for part in ("weight", "bias"):
            mine[f"short.1.{part}"] = weights[f"blocks.{i}.shortcut_norm.{part}"]
        assert set(mine) == set(dict(block.named_parameters()))
        block.load_state_dict(mine, strict=False)
        blocks.append(block)
    return nn.Sequential(*blocks)


@pytest.mark.parametrize("training", [False, True])
def test_features_equal_plain_blocks_and_a_global_mean(training):
    net = backbone().train(training)
    reference = plain(dict(net.named_parameters())).train(training)
    x = images(2, 4, 3, 32, 32)
    expected = reference(x.flatten(0, 1)).mean(dim=(-2, -1))
    torch.testing.assert_close(net(x), expected.unflatten(0, (2, 4)))


def test_per_task_weights_with_support_moments_equal_a_loop_over_tasks():
    net, tasks = backbone(), 3
    x = images(tasks, 4, 3, 32, 32)
    weights = {
        name: torch.stack([p + 0.1 * t for t in range(tasks)]) for name, p in net.named_parameters()
    }
    y = net(x, weights, support=4)  # all examples are support: plain training-mode moments
    for t in range(tasks):
        reference = plain({name: w[t] for name, w in weights.items()}).train()
        torch.testing.assert_close(y[t], reference(x[t]).mean(dim=(-2, -1)))


def test_support_moments_do_not_depend_on_the_queries():
    net = backbone()
    x = images(2, 6, 3, 32, 32)
    y = net(x, support=4)
    torch.testing.assert_close(y[:, :4], net(x[:, :4], support=4))
    changed = x.clone()
    changed[:, 5] = 1 - changed[:, 5]
    torch.testing.assert_close(net(changed, support=4)[:, :5], y[:, :5])


@pytest.mark.parametrize(("side", "positions", "pooled"), [(28, 9, 0), (32, 16, 0), (84, 25, 1)])
def test_maps_are_the_last_blocks_output_with_at_least_three_by_three_positions(
    side, positions, pooled
):
    net = backbone(side).eval()
    x = images(1, 2, 3, side, side)
    maps = net.maps(x)
    assert maps.shape == (1, 2, net.channels, positions)
    expected = plain(dict(net.named_parameters()), pool_last=bool(pooled)).eval()(x[0])
    torch.testing.assert_close(maps[0], expected.flatten(2))
    assert net(x).shape == (1, 2, net.feature_dim) == (1, 2, 20)


def test_the_papers_network_has_twelve_million_parameters():
    net = build_backbone("resnet12", (3, 84, 84))
    assert net.feature_dim == 640
    # three 3×3 convolutions and one 1×1, each with a scale and a shift per channel
    blocks = itertools.pairwise([3, 64, 160, 320, 640])
    expected = sum(9 * (a * b + 2 * b * b) + a * b + 8 * b for a, b in blocks)
    assert sum(p.numel() for p in net.parameters()) == expected == 12_424_320


def test_dropped_values_are_whole_squares_and_the_rest_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(40, 2, 16, 12, 12, dtype=torch.float64)
    y = drop_block(x, rate=0.1, size=3)
    dropped = y == 0
    squares = nn.functional.avg_pool2d(dropped.double().flatten(0, 2), 3, stride=1) == 1
    # every dropped value lies in some square that is dropped as a whole
    covered = nn.functional.max_pool2d(nn.functional.pad(squares.double(), [2] * 4), 3, stride=1)
    assert torch.equal(covered.bool(), dropped.flatten(0, 2))
    assert 0.08 < dropped.double().mean() < 0.1  # overlaps make it less than the rate
    torch.testing.assert_close(y.mean(dim=(2, 3, 4)), torch.ones(40, 2, dtype=torch.float64))


def test_a_square_larger_than_the_map_drops_whole_channels_at_the_rate():
    torch.manual_seed(0)
    y = drop_block(torch.ones(200, 1, 50, 3, 3), rate=0.2, size=5)
    channel = (y == 0).flatten(3).double().mean(-1)
    assert set(channel.unique().tolist()) == {0.0, 1.0}
    assert 0.19 < channel.mean() < 0.21


def test_blocks_are_dropped_in_training_only_and_alike_for_the_same_seed():
    net = backbone(drop=0.3).eval()
    x = images(2, 4, 3, 32, 32)
    torch.testing.assert_close(net(x), backbone().eval()(x))
    net.train()
    torch.manual_seed(1)
    first = net(x, support=2)
    assert not torch.allclose(first, net(x, support=2))
    torch.manual_seed(1)
    assert torch.equal(first, net(x, support=2))


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [((1, 15, 28), {}, "16×16"), ((1, 28, 28), {"drop": 1.0}, "0 ≤ drop < 1")],
)
def test_what_cannot_be_built_is_refused_with_the_reason(shape, settings, message):
    with pytest.raises(InputError, match=message):
        build_backbone("resnet12", shape, **settings)
