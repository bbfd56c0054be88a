"""Adapters against networks in which 1×1 convolutions stand beside the others."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.conv4 import Conv4
from metabench.backbones.efficientnet import ConvNorm
from metabench.backbones.resnet12 import ResNet12
from metabench.backbones.text_cnn import TextCNN
from metabench.methods.base import Task
from metabench.methods.parameter.adapters import Adapters, AdapterSettings, around, centred
from tests.methods.parameter.test_fine_tuning import on_images
from tests.methods.small import WAYS, build, episodes


class Beside(nn.Module):
    """A layer, and its adapter with the same input."""

    def __init__(self, layer: nn.Module, adapter: nn.Module):
        super().__init__()
        self.layer, self.adapter = layer, adapter
        nn.init.zeros_(adapter.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.adapter(x)


def plain_conv4(backbone: Conv4) -> nn.Sequential:
    parts: list[nn.Module] = []
    for block in backbone.blocks:
        out, size, *_ = block.conv.weight.shape
        conv = nn.Conv2d(size, out, 3, padding=1, bias=False).double()
        norm = nn.BatchNorm2d(out).double()
        conv.load_state_dict(block.conv.state_dict())
        norm.load_state_dict(block.norm.state_dict())
        adapter = nn.Conv2d(size, out, 1, bias=False)
        parts += [Beside(conv, adapter), norm, nn.MaxPool2d(2), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten()).double().eval()


def plain_mlp(backbone: nn.Module) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in backbone.layers:
        copied = nn.Linear(layer.in_features, layer.out_features)
        copied.load_state_dict(layer.state_dict())
        parts += [Beside(copied, nn.Linear(*reversed(layer.weight.shape), bias=False)), nn.ReLU()]
    return nn.Sequential(*parts).double()


def reference(network: nn.Sequential, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """Six steps of SGD with momentum on adapters and alignment, for one task."""
    align = nn.Linear(network(x[:1]).shape[1], network(x[:1]).shape[1], bias=False).double()
    nn.init.eye_(align.weight)
    adapters = [part.adapter.weight for part in network if isinstance(part, Beside)]
    groups = [{"params": adapters, "lr": 0.05}, {"params": align.parameters(), "lr": 0.2}]
    optimiser = torch.optim.SGD(groups, momentum=0.8)

    def logits(of: Tensor) -> Tensor:
        f, q = align(network(x)), align(network(of))
        means = torch.stack([f[y == k].mean(0) for k in range(WAYS)])
        return 10 * F.cosine_similarity(q[:, None], means[None], dim=-1)

    for _ in range(6):
        optimiser.zero_grad()
        F.cross_entropy(logits(x), y).backward()
        optimiser.step()
    return logits(query).detach()


def test_convolutions_stand_beside_those_of_conv4() -> None:
    learner, batch = on_images(Adapters)
    learner.train()
    for _ in range(20):  # running moments are those of such images
        learner.backbone(batch.support_x)
    found = learner.eval().predict(batch)[0]
    expected = reference(
        plain_conv4(learner.backbone), batch.support_x[0], batch.support_y[0], batch.query_x[0]
    )
    torch.testing.assert_close(found, expected)
    assert (found - learner.predict_after(batch, [0])[0]).abs().max() > 0.1


def test_matrices_stand_beside_linear_layers_in_every_task() -> None:
    settings = AdapterSettings(finetune_lr=0.05, head_lr=0.2, momentum=0.8, steps=6)
    learner, batch = build(Adapters, settings, widths=(7, 6)), episodes(tasks=3, support=9)
    found = learner.predict(batch)
    for t in range(3):
        network = plain_mlp(copy.deepcopy(learner.backbone))
        x, y, query = batch.support_x[t], batch.support_y[t], batch.query_x[t]
        torch.testing.assert_close(found[t], reference(network, x, y, query))


def test_before_the_first_step_the_nearest_centroid_of_the_pretrained_network_answers() -> None:
    learner, batch = build(Adapters, AdapterSettings(steps=0)), episodes(support=9)
    with torch.no_grad():
        f = batch.map(learner.backbone)
    y = batch.support_y[1]
    means = torch.stack([f.support_x[1][y == k].mean(0) for k in range(WAYS)])
    expected = 10 * F.cosine_similarity(f.query_x[1][:, None], means[None], dim=-1)
    torch.testing.assert_close(learner.predict(batch)[1], expected)


@pytest.mark.parametrize(
    ("backbone", "kind", "names"),
    [
        (
            ResNet12((1, 16, 16), width=2),
            "image",
            [f"blocks.{b}.convs.{c}.weight" for b in range(4) for c in range(3)],
        ),
        (TextCNN((9,), width=4, pieces=99), "text", ["convolution.weight", "output.weight"]),
    ],
)
def test_which_layers_have_adapters(backbone, kind, names) -> None:
    learner = Adapters(backbone, Task(kind, WAYS, 10), AdapterSettings())
    assert list(learner.adapted()) == names


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(2, 3, 3, padding=1, stride=2), True),
        (nn.Conv2d(2, 3, (5, 1), padding=(2, 0)), True),
        (nn.Conv2d(2, 3, 1), False),  # itself a matrix for each position
        (nn.Conv2d(2, 3, 3), False),  # its windows begin at the edge
        (nn.Conv2d(2, 3, 4, padding=2), False),  # no centre
        (nn.Conv2d(2, 3, 3, padding=1, dilation=2), False),
    ],
)
def test_an_adapter_stands_where_it_can_read_the_centres_of_windows(layer, expected) -> None:
    assert centred(layer) is expected
    if expected:
        x, adapter = torch.randn(1, 2, 9, 9), torch.randn(3, 2)
        wide = layer.weight.detach().zero_()
        wide[..., layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = adapter
        small = F.conv2d(x, adapter[..., None, None], layer.bias, layer.stride)
        torch.testing.assert_close(layer(x), small)


def test_beside_depthwise_convolutions_that_pad_by_themselves_stand_factors_of_channels() -> None:
    part = ConvNorm(4, 4, 5, groups=4)
    assert centred(part.conv)
    assert around(torch.ones(2, 4, 1), part.conv.weight).shape == (2, 4, 1, 5, 5)
