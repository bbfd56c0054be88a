"""Batch normalisation whose second derivatives cost little more than its first.

MAML differentiates gradients, and PyTorch differentiates that of batch normalisation in some thirty
passes over the activations, which are most of an outer step's time on a CPU. But the gradient is
nearly self-adjoint. With x̂ = (x − μ)/σ over the n numbers of a channel, and ``⟨·⟩`` their mean,

    y = w x̂ + b        ∂x = P_w(∂y) = (w/σ) (∂y − ⟨∂y⟩ − x̂ ⟨∂y x̂⟩)

is a symmetric map of ∂y. So the derivative of ∂x by ∂y along g is ``P_w(g)``, and that by x̂ is
``h = −(w/σ) (g ⟨∂y x̂⟩ + ∂y ⟨g x̂⟩)``, which goes on to x by the same map, ``P_1(h)``; what σ alone
adds is a multiple of x̂. The map is one fused call.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """``[N, C, H, W]`` normalised by its own moments, as ``F.batch_norm`` in training does.

    Args:
        weight, bias: scale and shift, ``[C]``.
        eps: added to the variance.

    Raises:
        ValueError: one number is all that a channel has.
    """
    _require_variance(x)
    y: Tensor = _Normalisation.apply(x, weight, bias, eps)
    return y


def _require_variance(x: Tensor) -> None:
    if x.numel() == x.shape[1]:
        raise ValueError(f"one number a channel has no variance: {tuple(x.shape)}")


def _apart(*inputs: Tensor) -> list[Tensor]:
    """The same values to differentiate by: partial derivatives, whichever depends on another."""
    return [v.view_as(v) if v.requires_grad else v.detach().requires_grad_() for v in inputs]


def _scaled(x: Tensor, support: int, weight: Tensor, eps: float) -> Tensor:
    """``w x̂`` by the moments of the first ``support`` examples, in what PyTorch differentiates."""
    var, mean = torch.var_mean(x[:support], (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(var + eps) * weight[:, None, None]


def _map(
    v: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``P_w(v)``, and by channel ``Σ v x̂`` and ``Σ v``; ``inverse`` is 1/σ."""
    found = torch.ops.aten.native_batch_norm_backward(
        v, x, weight, None, None, mean, inverse, True, eps, [True, True, True]
    )
    return found[0], found[1], found[2]


class _Normalisation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, inverse = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*_Gradient.apply(*gradients, *ctx.saved_tensors, ctx.eps), None)


class _Gradient(torch.autograd.Function):
    """``∂x``, ``∂w = Σ ∂y x̂`` and ``∂b = Σ ∂y``, of ∂y, x and w."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dw, db = _map(dy, x, weight, mean, inverse, eps)
        ctx.save_for_backward(dy, x, weight, mean, inverse, dw, db)
        ctx.eps = eps
        return dx, dw, db

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g, of_dw, of_db = gradients
        dy, x, weight, mean, inverse, dw, db = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a third derivative, which PyTorch's own has wrong, too
            ends = dy, x, weight = _apart(dy, x, weight)
            y = _scaled(x, len(x), weight, ctx.eps)
            dx, dw = torch.autograd.grad(y, (x, weight), dy, create_graph=True)
            first = dx, dw, dy.sum((0, 2, 3))
            return (
                *torch.autograd.grad(first, ends, gradients, create_graph=True), None, None, None
            )  # fmt: skip
        n, scale = x.numel() / x.shape[1], weight * inverse

        def by_channel(value: Tensor) -> Tensor:
            return value[:, None, None]

        along_dy, g_xhat, g_sum = _map(g, x, weight, mean, inverse, ctx.eps)
        centred = x - by_channel(mean)
        along_dy = along_dy + by_channel(of_db)
        along_dy = torch.addcmul(along_dy, centred, by_channel(of_dw * inverse))
        h = dy * by_channel(of_dw - scale * g_xhat / n) - g * by_channel(scale * dw / n)
        along_x, _, _ = _map(h, x, None, mean, inverse, ctx.eps)
        # ⟨g, ∂x⟩ = (w/σ) k, whose 1/σ depends on x too
        k = (g * dy).sum((0, 2, 3)) - (db * g_sum + dw * g_xhat) / n
        of_sigma = by_channel(-k * scale * inverse.square() / n)
        along_x = torch.addcmul(along_x, centred, of_sigma)
        return along_dy, along_x, inverse * k, None, None, None


def normalise_by(x: Tensor, support: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """``[N, C, H, W]`` normalised by the moments of its first ``support`` examples.

    As for running moments, two fused calls; what goes on to the support through its moments is what
    :func:`normalise` takes away, with sums over all N examples.

    Raises:
        ValueError: one number is all that the support has of a channel.
    """
    _require_variance(x[:support])
    y: Tensor = _BySupport.apply(x, support, weight, bias, eps)
    return y


class _BySupport(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, support: int, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        var, mean = torch.var_mean(x[:support], (0, 2, 3), correction=0)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.support, ctx.eps = support, eps
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,), (x, weight, mean, var), s = gradients, ctx.saved_tensors, ctx.support
        if torch.is_grad_enabled():
            ends = _apart(x, weight)
            y = _scaled(ends[0], s, ends[1], ctx.eps)
            dx, dw = torch.autograd.grad(y, ends, dy, create_graph=True)
            return dx, None, dw, dy.sum((0, 2, 3)), None
        inverse = torch.rsqrt(var + ctx.eps)
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, var, mean, inverse, False, ctx.eps, [True, True, True]
        )
        scale = weight * inverse / (x[:s].numel() / x.shape[1])
        of_xhat, of_mean = (scale * dw * inverse)[:, None, None], (scale * db)[:, None, None]
        dx[:s] -= (x[:s] - mean[:, None, None]) * of_xhat + of_mean
        return dx, None, dw, db, None
