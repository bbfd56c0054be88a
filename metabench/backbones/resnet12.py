"""ResNet-12: the residual network of few-shot learning, four blocks of three convolutions.

Form by Oreshkin et al. (2018, TADAM), widths and DropBlock by Lee et al. (2019, MetaOptNet).

Differs from the code of Lee et al.: DropBlock, if any, has its whole rate from the first step on,
where theirs reaches it after 40,000, and their first two blocks have dropout beside it. Features
are the mean over positions, as in most later work; their heads stand on all 16,000 numbers.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.layers import TaskBatchNorm2d, TaskConv2d, Weights, max_pool, scope
from metabench.config.bounds import BelowOne, Count, Width
from metabench.files import InputError

SLOPE = 0.1
"""Of the leaky ReLU, below zero."""


def drop_block(x: Tensor, rate: float, size: int) -> Tensor:
    """DropBlock (Ghiasi et al. 2018): zero contiguous squares of ``x`` ``[N, T, C, H, W]``.

    Corners of squares fall with probability ``γ = rate/s² · HW / ((H−s+1)(W−s+1))`` (eq. 1), alone
    in each channel; what is left is scaled up, by example, so that a constant keeps its mean.

    Args:
        x: feature maps.
        rate: expected share of values that are dropped (overlaps make it a little less).
        size: side ``s`` of a square; no larger than the map.
    """
    height, width = x.shape[-2:]
    s = min(size, height, width)
    corners = (*x.shape[:-2], height - s + 1, width - s + 1)
    gamma = rate / s**2 * height * width / (corners[-2] * corners[-1])
    seeds = (torch.rand(corners, dtype=x.dtype, device=x.device) < gamma).to(x.dtype)
    dropped = F.max_pool2d(F.pad(seeds.flatten(0, 2), [s - 1] * 4), s, stride=1)
    kept = 1 - dropped.view(x.shape)
    share = kept.mean(dim=(2, 3, 4), keepdim=True)
    return x * kept / share.clamp_min(1 / kept[0, 0].numel())


class ResidualBlock(nn.Module):
    """Three 3×3 convolutions beside a 1×1 one; 2×2 max-pooling, leaky ReLU.

    Leaky ReLU is monotone, so pooling first gives the same values with a quarter of the work.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        ends = [channels, width, width, width]
        self.convs = nn.ModuleList(
            TaskConv2d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(ends)
        )
        self.norms = nn.ModuleList(TaskBatchNorm2d(width) for _ in range(3))
        self.shortcut = TaskConv2d(channels, width, 1, bias=False)
        self.shortcut_norm = TaskBatchNorm2d(width)
        for conv in (*self.convs, self.shortcut):
            nn.init.kaiming_normal_(conv.weight, SLOPE, mode="fan_out", nonlinearity="leaky_relu")

    def forward(
        self, x: Tensor, weights: Weights | None, support: int | None, pool: bool
    ) -> Tensor:
        """``[N, T, C, H, W] -> [N, T, width, H', W']``."""
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = F.leaky_relu(y, SLOPE) if i else y
            y = norm(conv(y, scope(weights, f"convs.{i}")), scope(weights, f"norms.{i}"), support)
        short = self.shortcut(x, scope(weights, "shortcut"))
        y = y + self.shortcut_norm(short, scope(weights, "shortcut_norm"), support)
        return F.leaky_relu(max_pool(y) if pool else y, SLOPE)


class ResNet12(Backbone):
    """Widths 64-160-320-640, a global mean of the last maps as the feature vector.

    Args:
        input_shape: ``(C, H, W)``, at least 16×16 (84×84 in most papers, 32×32 for CIFAR-FS).
        width: channels of the first block; the others have 2.5, 5 and 10 times as many.
        drop: DropBlock's rate in the last two blocks while training (Lee et al.: rising to 0.1);
            0 for none.
        block_size: side of a dropped square.
    """

    kinds = frozenset({"image"})

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: Width = 64,
        drop: BelowOne = 0.0,
        block_size: Count = 5,
    ):
        super().__init__()
        channels, *sides = input_shape
        if min(sides) < 16:
            raise InputError(f"resnet12 pools four times: {sides[0]}×{sides[1]} is below 16×16")
        if not 0 <= drop < 1 or block_size < 1 or width < 1:
            raise InputError(
                f"backbone.settings: resnet12 needs width ≥ 1, 0 ≤ drop < 1 and block_size ≥ 1, "
                f"found width {width}, drop {drop}, block_size {block_size}"
            )
        widths = [width, width * 5 // 2, width * 5, width * 10]
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b) for a, b in itertools.pairwise([channels, *widths])
        )
        self.block_prefixes = tuple(f"blocks.{i}." for i in range(4))
        self.feature_dim = widths[-1]
        self.drop, self.block_size = drop, block_size
        self.pooled_maps = min(sides) // 16 >= 3
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in Conv4

    def _blocks(
        self, x: Tensor, weights: Weights | None, support: int | None, pool_last: bool
    ) -> Tensor:
        n, t = x.shape[1], x.shape[0]
        x = x.transpose(0, 1).flatten(0, 1)  # layers work on [N, T, ...]
        x = x.contiguous(memory_format=torch.channels_last).unflatten(0, (n, t))
        for i, block in enumerate(self.blocks):
            x = block(x, scope(weights, f"blocks.{i}"), support, pool=pool_last or i < 3)
            if self.training and self.drop and i >= 2:
                x = drop_block(x, self.drop, self.block_size)
        return x.transpose(0, 1)

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, D]``."""
        return self._blocks(x, weights, support, pool_last=True).mean(dim=(-2, -1))

    def maps(self, x: Tensor, weights: Weights | None = None, support: int | None = None) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, D, P]``: 5×5 positions for 84×84 input, as in the papers.

        Images below 48×48 would leave fewer than 3×3: for them the last block does not pool, which
        gives 3×3 positions for 28×28 and 4×4 for 32×32.
        """
        return self._blocks(x, weights, support, pool_last=self.pooled_maps).flatten(3)
