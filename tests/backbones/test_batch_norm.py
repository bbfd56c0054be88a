"""Batch normalisation with its own second derivative, against finite differences and PyTorch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from metabench.backbones.batch_norm import normalise, normalise_by

FORMATS = [torch.contiguous_format, torch.channels_last]


def inputs(memory_format: torch.memory_format) -> list[torch.Tensor]:
    """``x`` with channels of unequal means and variances, scale and shift, in float64."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 2, 4, dtype=torch.double, generator=draw)
    x = x * torch.tensor([0.1, 1.0, 10.0])[:, None, None] + torch.arange(3.0)[:, None, None]
    rest = (torch.randn(3, dtype=torch.double, generator=draw) for _ in range(2))
    return [v.requires_grad_() for v in (x.contiguous(memory_format=memory_format), *rest)]


@pytest.mark.parametrize("memory_format", FORMATS)
def test_derivatives_of_any_order_are_finite_differences(memory_format) -> None:
    def gradient(x, weight, bias):
        """Of a loss that is not linear in the result."""
        loss = normalise(x, weight, bias, 1e-5).pow(3).sum()
        return torch.autograd.grad(loss, (x, weight), create_graph=True)

    arguments = inputs(memory_format)
    assert torch.autograd.gradcheck(lambda *a: normalise(*a, 1e-5), arguments)
    assert torch.autograd.gradgradcheck(lambda *a: normalise(*a, 1e-5), arguments)
    assert torch.autograd.gradgradcheck(gradient, arguments)  # third
    fixed = arguments[0].detach()  # what does not require a gradient is let be
    assert torch.autograd.gradgradcheck(
        lambda w, b: gradient_by_weight(fixed, w, b), arguments[1:], raise_exception=True
    )


def gradient_by_weight(x, weight, bias):
    loss = normalise(x * weight[:, None, None], weight, bias, 1e-5).pow(3).sum()
    return torch.autograd.grad(loss, weight, create_graph=True)[0]


def plain(x, weight, bias):
    """Normalised by the moments of the first three examples."""
    var, mean = torch.var_mean(x[:3], (0, 2, 3), correction=0, keepdim=True)
    scale = weight[:, None, None] / (var + 1e-5).sqrt()
    return (x - mean) * scale + bias[:, None, None]


@pytest.mark.parametrize("memory_format", FORMATS)
def test_moments_of_the_first_examples_alone_normalise_all(memory_format) -> None:
    def layer(x, weight, bias):
        return normalise_by(x, 3, weight, bias, 1e-5)

    arguments = inputs(memory_format)
    torch.testing.assert_close(layer(*arguments), plain(*arguments))
    assert torch.autograd.gradcheck(layer, arguments)
    assert torch.autograd.gradgradcheck(layer, arguments)


def test_one_number_a_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="one number a channel"):
        normalise(torch.zeros(1, 3, 1, 1), torch.ones(3), torch.zeros(3), 1e-5)
    with pytest.raises(ValueError, match="one number a channel"):
        normalise_by(torch.zeros(3, 3, 1, 1), 1, torch.ones(3), torch.zeros(3), 1e-5)


def test_inputs_that_depend_on_one_another_are_counted_once_where_a_graph_is_kept() -> None:
    x, weight, bias = inputs(torch.contiguous_format)

    def twice(layer, graph):
        loss = layer(layer(x, weight, bias).tanh(), weight, bias).pow(3).sum()
        return torch.autograd.grad(loss, (x, weight), create_graph=graph)

    def second(layer, graph):
        (d,) = torch.autograd.grad(layer(x, weight, bias).tanh().sum(), x, create_graph=True)
        return torch.autograd.grad(d.square().sum(), (x, weight), create_graph=graph)

    layers = [
        (lambda *a: normalise_by(a[0], 3, *a[1:], 1e-5), plain),
        (lambda *a: normalise(*a, 1e-5), lambda *a: F.batch_norm(a[0], None, None, *a[1:], True)),
    ]
    for layer, reference in layers:
        for derivative in (twice, second):
            torch.testing.assert_close(derivative(layer, True), derivative(reference, False))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_a_gradient_through_two_steps_of_descent_is_pytorch_s(memory_format) -> None:
    def outer(layer) -> tuple[torch.Tensor, ...]:
        x, weight, bias = inputs(memory_format)
        adapted = weight
        for _ in range(2):
            loss = (layer(x, adapted, bias).tanh() * x).sum()
            (step,) = torch.autograd.grad(loss, adapted, create_graph=True)
            adapted = adapted - 0.01 * step
        loss = layer(x, adapted, bias).square().tanh().sum()
        return torch.autograd.grad(loss, (x, weight, bias))

    found = outer(lambda x, w, b: normalise(x, w, b, 1e-5))
    wanted = outer(lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.0, 1e-5))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
