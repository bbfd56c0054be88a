"""Conv4: four 3×3 convolution blocks, the small standard network of few-shot learning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.layers import TaskBatchNorm2d, TaskConv2d, Weights, max_pool, scope
from metabench.config.bounds import Width


class Block(nn.Module):
    """Convolution, normalisation, optional 2×2 max-pooling, ReLU.

    ReLU is monotone, so pooling first gives the same values with a quarter of the work.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        # no bias: normalisation would remove it
        self.conv = TaskConv2d(channels, width, 3, padding=1, bias=False)
        self.norm = TaskBatchNorm2d(width)

    def forward(
        self, x: Tensor, weights: Weights | None, support: int | None, pool: bool
    ) -> Tensor:
        """``[N, T, C, H, W] -> [N, T, width, H', W']``."""
        x = self.norm(self.conv(x, scope(weights, "conv")), scope(weights, "norm"), support)
        return F.relu(max_pool(x) if pool else x)


class Conv4(Backbone):
    """Conv4-``width`` (Vinyals et al. 2016; Snell et al. 2017): 28×28 input, ``width`` features.

    Args:
        input_shape: ``(C, H, W)``, at least 16×16.
        width: channels of every block (64 in most papers, 32 in Finn et al. for miniImageNet).
    """

    kinds = frozenset({"image"})

    def __init__(self, input_shape: tuple[int, ...], width: Width = 64):
        super().__init__()
        channels, height, side = input_shape
        if min(height, side) < 16:
            raise ValueError(f"Conv4 pools four times: {height}×{side} is below 16×16")
        self.blocks = nn.ModuleList(Block(channels if i == 0 else width, width) for i in range(4))
        self.block_prefixes = tuple(f"blocks.{i}." for i in range(4))
        self.feature_dim = width * (height // 16) * (side // 16)
        self.width = width
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # max-pooling is ten times faster so on a CPU

    @property
    def channels(self) -> int:
        """``width``."""
        return self.width

    def _blocks(
        self, x: Tensor, weights: Weights | None, support: int | None, pool_last: bool
    ) -> Tensor:
        n, t = x.shape[1], x.shape[0]
        x = x.transpose(0, 1).flatten(0, 1)  # layers work on [N, T, ...]
        x = x.contiguous(memory_format=torch.channels_last).unflatten(0, (n, t))
        for i, block in enumerate(self.blocks):
            x = block(x, scope(weights, f"blocks.{i}"), support, pool=pool_last or i < 3)
        return x.transpose(0, 1)

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, D]``."""
        return self._blocks(x, weights, support, pool_last=True).flatten(2)

    def maps(self, x: Tensor, weights: Weights | None = None, support: int | None = None) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, width, P]``: 3×3 positions for 28×28 input."""
        return self._blocks(x, weights, support, pool_last=False).flatten(3)
