"""Plain torch modules as backbones, against the backbone that is written for tasks."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones import build_backbone
from metabench.backbones.base import Backbone
from metabench.backbones.conv4 import Conv4
from metabench.backbones.module import ModuleBackbone
from metabench.conformance import check, subject
from metabench.episodes import Episodes
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.base import Task

SHAPE, WIDTH = (1, 16, 16), 4


class Plain(ModuleBackbone):
    """Conv4 of torch's own layers."""

    kinds = frozenset({"image"})

    def __init__(self, input_shape: tuple[int, ...], width: int = WIDTH):
        channels = [input_shape[0], *[width] * 4]
        parts = [
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for a, b in itertools.pairwise(channels)
        ]
        super().__init__(nn.Sequential(nn.Sequential(*parts), nn.Flatten()), input_shape)


def name_in_plain(name: str) -> str:
    """``blocks.2.conv.weight`` of Conv4 as ``network.0.2.0.weight``."""
    _, block, layer, rest = name.split(".")
    return f"network.0.{block}.{['conv', 'norm'].index(layer)}.{rest}"


@pytest.fixture
def twins() -> tuple[Conv4, Plain]:
    """The same network twice, in double precision; no weight has its first value."""
    torch.manual_seed(0)
    own, plain = Conv4(SHAPE, WIDTH).double(), Plain(SHAPE).double()
    state = {name: torch.rand_like(v.double()) + 0.1 for name, v in own.state_dict().items()}
    own.load_state_dict(state)
    plain.load_state_dict({name_in_plain(name): v for name, v in state.items()})
    return own, plain


def images(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*shape, *SHAPE, generator=generator, dtype=torch.float64)


def scaled(net: Backbone, tasks: int) -> dict[str, Tensor]:
    """Weights that differ from task to task."""
    return {
        name: torch.stack([p * (1 + 0.1 * t) for t in range(tasks)])
        for name, p in net.named_parameters()
    }


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("support", [None, 3, 5])
@pytest.mark.parametrize("per_task", [False, True])
def test_features_are_those_of_the_backbone_for_tasks(twins, per_task, support, training) -> None:
    own, plain = (net.train(training) for net in twins)
    x = images(2, 5)
    weights = [scaled(net, 2) if per_task else None for net in (own, plain)]
    if per_task and training and support is None:
        for net, given in zip((own, plain), weights, strict=True):
            with pytest.raises(RuntimeError, match="support moments"):
                net(x, given)
        return
    expected, found = own(x, weights[0], support), plain(x, weights[1], support)
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, 5, plain.feature_dim)
    state = plain.state_dict()
    for name, value in own.state_dict().items():  # running moments follow where they do there
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(state[name_in_plain(name)], value)


def test_the_gradients_of_maml_are_those_of_the_backbone_for_tasks(twins) -> None:
    labels = torch.arange(2).repeat(3).expand(2, -1)
    episodes = Episodes(images(2, 6), labels, images(2, 4), labels[:, :4], 2)
    maml, gradients = METHODS.load("maml"), []
    for net in twins:
        torch.manual_seed(0)
        learner = maml(net, Task("image", 2, 2), maml.Settings(steps=2)).double().train()
        learner.loss(episodes, 0.0).backward()
        gradients.append({name: p.grad for name, p in learner.named_parameters()})
    for name, expected in gradients[0].items():
        within = name.partition("backbone.")[2]
        other = f"backbone.{name_in_plain(within)}" if within else name
        torch.testing.assert_close(gradients[1][other], expected)
        assert expected.any()


def test_parts_are_in_order_and_hold_all_kernels(twins) -> None:
    assert twins[1].block_prefixes == tuple(f"network.0.{i}." for i in range(4))


@pytest.mark.parametrize("method", ["protonet", "maml", "fine_tune"])
def test_methods_conform_on_it(method, monkeypatch) -> None:
    monkeypatch.setitem(subject.BACKBONES_USED, "image", (f"{__name__}:Plain", {"width": 8}))
    broken = [f"{v.property}: {v.detail}" for v in check(method, ["image"]) if v.passed is False]
    assert broken == []


class Counting(nn.Module):
    """Remembers the mean of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.add_(x.mean())
        return x


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


class Around(ModuleBackbone):
    """A convolution, then a layer that is given."""

    kinds = frozenset({"image"})

    def __init__(self, input_shape: tuple[int, ...], layer: nn.Module, end: nn.Module):
        network = nn.Sequential(nn.Conv2d(input_shape[0], 4, 3), layer, end)
        super().__init__(network, input_shape)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Counting(), r"1\.seen: a buffer of Counting that changes as examples pass"),
        (
            nn.InstanceNorm2d(4, track_running_stats=True),
            "buffer of InstanceNorm2d that changes",
        ),
        (nn.BatchNorm2d(4, track_running_stats=False), "track_running_stats=False"),
        (Centred(), "depend on the others with it"),
        (Branching(), "cannot be called for several tasks at once"),
        (nn.Linear(5, 5), "cannot be built for examples of shape 1×16×16"),
    ],
)
def test_a_layer_that_leaks_is_refused_by_name(layer, message) -> None:
    with pytest.raises(InputError, match=message):
        build_backbone(f"{__name__}:Around", SHAPE, layer=layer, end=nn.Flatten())


@pytest.mark.parametrize(
    "layer",
    [Constant(), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.Dropout(0.5), nn.ReLU(inplace=True)],
)
def test_a_layer_that_does_not_is_not(layer) -> None:
    net = build_backbone(f"{__name__}:Around", SHAPE, layer=layer, end=nn.Flatten()).double()
    assert net(images(2, 3), scaled(net, 2), 2).shape == (2, 3, net.feature_dim)


def test_a_map_is_told_to_be_flattened() -> None:
    with pytest.raises(InputError, match=r"end it with nn\.Flatten"):
        build_backbone(f"{__name__}:Around", SHAPE, layer=nn.ReLU(), end=nn.Identity())


def test_building_it_draws_nothing_and_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in network.state_dict().items()}
    net = type("Given", (ModuleBackbone,), {"kinds": frozenset({"image"})})(network, SHAPE)
    assert torch.equal(torch.get_rng_state(), before) and net.training
    assert all(torch.equal(v, state[name]) for name, v in network.state_dict().items())
