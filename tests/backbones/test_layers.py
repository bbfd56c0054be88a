"""Layers with per-task weights against a loop over tasks with plain ``torch.nn`` modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones.layers import TaskBatchNorm2d, TaskConv2d, TaskLinear, scope

N, T = 5, 3


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def load(module: nn.Module, weights: dict[str, Tensor], task: int) -> nn.Module:
    """``module`` with the weights of one task."""
    module.load_state_dict({k: v[task] for k, v in weights.items()}, strict=False)
    return module


def test_linear_with_per_task_weights_equals_a_loop_over_tasks():
    layer, plain = TaskLinear(4, 6).double(), nn.Linear(4, 6).double()
    weights = {"weight": random(T, 6, 4), "bias": random(T, 6, seed=1)}
    x = random(N, T, 4, seed=2)
    y = layer(x, weights)
    for t in range(T):
        torch.testing.assert_close(y[:, t], load(plain, weights, t)(x[:, t]))


def test_linear_without_replacements_equals_the_plain_layer():
    layer = TaskLinear(4, 6).double()
    x = random(N, T, 4)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("bias", [True, False])
def test_convolution_with_per_task_weights_equals_a_loop_over_tasks(bias):
    layer = TaskConv2d(2, 6, 3, padding=1, bias=bias).double()
    plain = nn.Conv2d(2, 6, 3, padding=1, bias=bias).double()
    weights = {"weight": random(T, 6, 2, 3, 3)}
    if bias:
        weights["bias"] = random(T, 6, seed=1)
    x = random(N, T, 2, 8, 7, seed=2)
    y = layer(x, weights)
    for t in range(T):
        torch.testing.assert_close(y[:, t], load(plain, weights, t)(x[:, t]))


@pytest.mark.parametrize("groups", [2, 4])
def test_a_convolution_in_groups_of_channels_equals_a_loop_over_tasks(groups):
    layer = TaskConv2d(4, 8, 3, padding=1, groups=groups).double()
    plain = nn.Conv2d(4, 8, 3, padding=1, groups=groups).double()
    weights = {"weight": random(T, 8, 4 // groups, 3, 3), "bias": random(T, 8, seed=1)}
    x = random(N, T, 4, 8, 7, seed=2)
    y = layer(x, weights)
    for t in range(T):
        torch.testing.assert_close(y[:, t], load(plain, weights, t)(x[:, t]))
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x)[:, 0], plain(x[:, 0]))


def test_convolution_takes_a_shared_bias_beside_per_task_weights():
    layer = TaskConv2d(2, 4, 3, padding=1).double()
    weight, x = random(T, 4, 2, 3, 3), random(N, T, 2, 8, 8, seed=1)
    y = layer(x, {"weight": weight})
    for t in range(T):
        expected = nn.functional.conv2d(x[:, t], weight[t], layer.bias, padding=1)
        torch.testing.assert_close(y[:, t], expected)


def batch_norms() -> tuple[TaskBatchNorm2d, nn.BatchNorm2d]:
    """The layer and a plain one with the same, non-trivial weights and running moments."""
    layer, plain = TaskBatchNorm2d(4).double(), nn.BatchNorm2d(4).double()
    with torch.no_grad():
        layer.weight.copy_(random(4))
        layer.bias.copy_(random(4, seed=1))
        layer.running_mean.copy_(random(4, seed=2))
        layer.running_var.copy_(random(4, seed=3).square() + 0.5)
    plain.load_state_dict(layer.state_dict())
    return layer, plain


def test_batch_norm_in_training_uses_and_records_the_moments_of_the_whole_batch():
    layer, plain = batch_norms()
    x = random(N, T, 4, 3, 2, seed=4)
    torch.testing.assert_close(layer(x), plain(x.flatten(0, 1)).unflatten(0, (N, T)))
    torch.testing.assert_close(layer.running_mean, plain.running_mean)
    torch.testing.assert_close(layer.running_var, plain.running_var)


@pytest.mark.parametrize("replaced", [(), ("weight",), ("weight", "bias")])
def test_batch_norm_in_eval_uses_running_moments(replaced):
    layer, plain = batch_norms()
    layer.eval(), plain.eval()
    x = random(N, T, 4, 3, 2, seed=4)
    weights = {name: random(T, 4, seed=5 + i) for i, name in enumerate(replaced)}
    y = layer(x, weights)
    for t in range(T):
        torch.testing.assert_close(y[:, t], load(plain, weights, t)(x[:, t]))


@pytest.mark.parametrize("support", [2, N])
@pytest.mark.parametrize("per_task", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_with_support_uses_the_moments_of_each_tasks_own_support(
    support, per_task, training
):
    layer, _ = batch_norms()
    layer.train(training)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    x = random(N, T, 4, 3, 2, seed=4)
    weights = {"weight": random(T, 4, seed=5), "bias": random(T, 4, seed=6)} if per_task else {}
    y = layer(x, weights, support)
    for t in range(T):
        mean = x[:support, t].mean(dim=(0, 2, 3), keepdim=True)
        var = (x[:support, t] - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        scale = weights["weight"][t] if per_task else layer.weight
        shift = weights["bias"][t] if per_task else layer.bias
        expected = (x[:, t] - mean) / (var + layer.eps).sqrt() * scale[None, :, None, None]
        torch.testing.assert_close(y[:, t], expected + shift[None, :, None, None])
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} must not follow the support"


def test_batch_norm_refuses_per_task_weights_with_batch_moments():
    layer, _ = batch_norms()
    with pytest.raises(RuntimeError, match="support moments"):
        layer(random(N, T, 4, 3, 2), {"weight": random(T, 4)})


def test_scope_keeps_the_names_below_a_prefix_only():
    weights = {"blocks.1.conv.weight": random(1), "blocks.10.conv.weight": random(2)}
    assert list(scope(weights, "blocks.1") or {}) == ["conv.weight"]
    assert scope(None, "blocks.1") is None
