"""Layers whose weights may differ from task to task.

Inside a backbone a batch is ``[N, T, ...]`` (examples, tasks): then both the shared case (fold T
into the batch) and the per-task case (fold T into the channels, one group per task) are free views.
``weights`` maps a parameter's name to a replacement, either of the parameter's own shape or with a
leading task axis ``[T, ...]``; parameters that are not named are the layer's own. Adapted weights
are plain tensors in a dictionary, so gradients of any order flow through an inner loop.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.batch_norm import normalise, normalise_by

Weights = Mapping[str, Tensor]


def scope(weights: Weights | None, prefix: str) -> Weights | None:
    """The replacements below ``prefix.``, with the prefix removed."""
    if weights is None:
        return None
    start = prefix + "."
    return {k[len(start) :]: v for k, v in weights.items() if k.startswith(start)}


def pick(weights: Weights | None, name: str, own: Tensor) -> Tensor:
    """The replacement called ``name``, or the layer's own parameter."""
    return own if weights is None else weights.get(name, own)


class TaskLinear(nn.Linear):
    """``[N, T, in] -> [N, T, out]``."""

    def forward(self, x: Tensor, weights: Weights | None = None) -> Tensor:
        """Apply the shared or the per-task weights."""
        weight = pick(weights, "weight", self.weight)
        bias = pick(weights, "bias", self.bias)
        return (
            torch.einsum("nti,toi->nto", x, weight) + bias
            if weight.dim() == 3
            else (x @ weight.T + bias)
        )


def _for_pooling(x: Tensor) -> Tensor:
    """``x`` in channels-last on a CPU, where pooling is ten times faster so."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


class TaskConv2d(nn.Conv2d):
    """``[N, T, C, H, W] -> [N, T, C', H', W']``, in ``groups`` of channels of each task."""

    def forward(self, x: Tensor, weights: Weights | None = None) -> Tensor:
        """Apply the shared weights, or per-task weights in T times as many groups."""
        weight = pick(weights, "weight", self.weight)
        bias = None if self.bias is None else pick(weights, "bias", self.bias)
        n, t = x.shape[:2]
        if weight.dim() == 4:
            return self._convolved(x.flatten(0, 1), weight, bias, self.groups).unflatten(0, (n, t))
        if bias is not None:
            bias = bias.expand(t, -1).flatten()
        x = _for_pooling(x.flatten(1, 2))
        y = self._convolved(x, weight.flatten(0, 1), bias, self.groups * t)
        return _for_pooling(y).unflatten(1, (t, -1))

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """The convolution of ``[B, G·C, H, W]``, padded by zeros."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=groups)


def max_pool(x: Tensor) -> Tensor:
    """2×2 max-pooling of ``[N, T, C, H, W]``.

    Tasks join the channels or the examples, whichever is a view of the layout that the convolution
    left (per-task or shared weights); the other would copy.
    """
    by_channel = x.stride(1) == x.shape[2] * x.stride(2)
    dims = (1, 2) if by_channel else (0, 1)
    folded = x.flatten(*dims)
    return F.max_pool2d(folded, 2).unflatten(dims[0], [x.shape[d] for d in dims])


def to_side(x: Tensor, side: int) -> Tensor:
    """Images ``[B, C, H, W]`` as ``[B, C, side, side]``, bilinearly."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True)


class TaskBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with an explicit policy for whose moments are used.

    - ``support=S``: each task is normalised by the moments of its own first ``S`` examples, the
      support; queries never contribute, tasks never mix, running moments stay as they are.
    - ``support=None``, training mode: moments of the whole batch, and running moments follow them
      (pretraining, metric learning).
    - ``support=None``, eval mode: running moments.
    """

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """Normalise ``[N, T, C, H, W]`` over examples and positions, then scale and shift."""
        n, t = x.shape[:2]
        weight = pick(weights, "weight", self.weight)
        bias = pick(weights, "bias", self.bias)
        mean, var = self.running_mean, self.running_var
        assert mean is not None and var is not None
        if support is None and weight.dim() == bias.dim() == 1:
            y = F.batch_norm(
                x.flatten(0, 1),
                mean,
                var,
                weight,
                bias,
                self.training,
                self.momentum or 0,
                self.eps,
            )
            return y.unflatten(0, (n, t))
        if support is None and self.training:
            raise RuntimeError("per-task weights need eval mode or support moments")
        weight, bias = weight.expand(t, -1), bias.expand(t, -1)
        if support == n:  # one fused call, tasks as channels
            y = normalise(x.flatten(1, 2), weight.flatten(), bias.flatten(), self.eps)
            return y.unflatten(1, (t, -1))
        if support is None:
            moments = mean.repeat(t), var.repeat(t)
            y = F.batch_norm(
                x.flatten(1, 2), *moments, weight.flatten(), bias.flatten(), eps=self.eps
            )
            return y.unflatten(1, (t, -1))
        y = normalise_by(x.flatten(1, 2), support, weight.flatten(), bias.flatten(), self.eps)
        return y.unflatten(1, (t, -1))
