"""Any model of the ``timm`` library by its name: for those who have weights, or another network.

timm's layers know no tasks: see :mod:`metabench.backbones.module`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.backbones.frozen import Encoder, Frozen, encoding
from metabench.backbones.layers import Weights, scope, to_side
from metabench.backbones.module import blocks, run
from metabench.config.bounds import BelowOne, Width
from metabench.files import InputError


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            "backbone 'timm' needs the package timm: pip install 'metabench[timm]'"
        ) from error
    except RuntimeError as error:  # torchvision, which timm imports, was built for another torch
        raise InputError(
            f"backbone 'timm': the installed torchvision does not fit torch {torch.__version__} "
            f"({error}). Install both from the same index."
        ) from error
    return timm


class Network(nn.Module):
    """A timm model without classifier, behind one call for both kinds of features."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, x: Tensor, local: bool) -> Tensor:
        """``[B, C, H, W]`` to ``[B, D]``, or to local features ``[B, D', P]``."""
        if not local:
            return self.model(x)
        y = self.model.forward_features(x)
        if y.dim() == 3:  # tokens, after class and register tokens
            return y[:, getattr(self.model, "num_prefix_tokens", 0) :].transpose(1, 2)
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            y = y.permute(0, 3, 1, 2)
        return y.flatten(2)


class Timm(Backbone):
    """A timm model; features before the classifier.

    Normalisation: layers that normalise each example by itself (layer norm, group norm) have no
    policy to follow. Batch norms follow that of :class:`~metabench.backbones.layers
    .TaskBatchNorm2d`: ``support=S`` takes the moments of the task's own first ``S`` examples;
    otherwise the batch's in training and the running ones in evaluation.

    Args:
        input_shape: ``(C, H, W)``. Any ``C``: timm adapts the first layer, and its weights.
        model: timm's name of the model, such as ``resnet18``.
        pretrained: load the weights that timm names (from its cache or the network).
        checkpoint: file with weights of this model, loaded instead. Its content is in the keys of
            cells, so other weights of the same name are noticed.
        size: images are resized to this side first; ``None`` takes them as they are.
        drop_path: rate of stochastic depth while training.
    """

    kinds = frozenset({"image"})
    packages = ("timm",)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        model: str = "resnet18",
        pretrained: bool = False,
        checkpoint: str | None = None,
        size: Width | None = None,
        drop_path: BelowOne = 0.0,
    ):
        super().__init__()
        channels, height, width = input_shape
        self.size = size
        sides = (size, size) if size else (height, width)
        self.external_pretraining = pretrained or checkpoint is not None
        network = _create(model, channels, sides, pretrained, checkpoint, drop_path)
        self.network = Network(network)
        for part in ("mean", "std"):  # of the images that external weights were trained on
            values = torch.tensor(network.pretrained_cfg[part])
            values = values if len(values) == channels else values.mean().expand(channels)
            if not self.external_pretraining:
                values = torch.full_like(values, 0.0 if part == "mean" else 1.0)
            self.register_buffer(part, values[:, None, None].clone(), persistent=False)
        self.block_prefixes = tuple(f"network.model.{part}" for part in blocks(network))
        self.feature_dim, self._channels = self._sizes(model, (channels, *sides))

    @classmethod
    def learned_from(cls, settings: Mapping[str, Any]) -> str | None:
        """Unknown, for weights of any origin; None without."""
        external = settings.get("pretrained") or settings.get("checkpoint")
        return cls.pretrained_on if external else None

    @property
    def channels(self) -> int:
        """Length of a local feature."""
        return self._channels

    def _sizes(self, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
        """What comes out for an image of ``shape``; most models have a smallest size."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                sizes = [self.network(torch.zeros(1, *shape), local).shape[1] for local in (0, 1)]
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InputError(
                f"backbone.settings: timm model '{name}' does not take {shape[1]}×{shape[2]} "
                f"images ({error}). Set `size` to a side that it takes, such as 224."
            ) from error
        self.train(training)
        return sizes[0], sizes[1]

    def _features(
        self, x: Tensor, weights: Weights | None, support: int | None, local: bool
    ) -> Tensor:
        t, n = x.shape[:2]
        x = x.flatten(0, 1)
        x = to_side(x, self.size) if self.size else x
        x = ((x - self.mean) / self.std).unflatten(0, (t, n))
        return run(self.network, x, scope(weights, "network"), support, local)

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, D]``."""
        return self._features(x, weights, support, local=False)

    def maps(self, x: Tensor, weights: Weights | None = None, support: int | None = None) -> Tensor:
        """``[T, N, C, H, W] -> [T, N, D', P]``: the last feature map, or the patches' tokens."""
        return self._features(x, weights, support, local=True)


class TimmFrozen(Frozen):
    """A timm model that never changes: its vectors are computed once, by ``embed``.

    Args:
        input_shape: ``(D,)``.
        model, checkpoint, size: as of ``timm``. Without a checkpoint the weights are those that
            timm names: they are downloaded once, or lie in its cache.
    """

    kinds = frozenset({"image"})
    packages = Timm.packages

    def __init__(
        self,
        input_shape: tuple[int, ...],
        model: str = "resnet18",
        checkpoint: str | None = None,
        size: Width | None = None,
    ):
        super().__init__(input_shape)
        self.model, self.checkpoint, self.size = model, checkpoint, size

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """Images in 0..1 to ``[N, D]``."""
        pretrained = self.checkpoint is None
        return encoding(Timm(shape, self.model, pretrained, self.checkpoint, self.size))


def _create(
    name: str,
    channels: int,
    sides: tuple[int, int],
    pretrained: bool,
    checkpoint: str | None,
    drop_path: float,
) -> Any:
    timm = _timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        raise InputError(
            f"backbone.settings.model: timm has no model '{name}'. "
            + (f"Did you mean {', '.join(near)}?" if near else "See timm.list_models().")
        )
    options: dict[str, Any] = {"in_chans": channels, "num_classes": 0}
    if drop_path:
        options["drop_path_rate"] = drop_path
    if timm.get_pretrained_cfg(name).fixed_input_size:
        options["img_size"] = sides
    if checkpoint is not None:
        if not Path(checkpoint).is_file():
            raise InputError(f"backbone.settings.checkpoint: {checkpoint}: no such file")
        options["pretrained_cfg_overlay"] = {"file": checkpoint}
    state = torch.get_rng_state()
    try:
        model = timm.create_model(name, pretrained=pretrained or checkpoint is not None, **options)
    except Exception as error:  # each model, and each way of loading weights, has its own kinds
        what = f"for {sides} images"
        if checkpoint or pretrained:
            what = f"with the weights {f'of {checkpoint}' if checkpoint else 'that timm names'}"
        raise InputError(
            f"backbone.settings: cannot build timm model '{name}' {what}: {error}"
        ) from error
    if checkpoint is not None:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            _require_loaded(model, timm.create_model(name, **options), checkpoint)
    return model


def _require_loaded(model: nn.Module, fresh: nn.Module, checkpoint: str) -> None:
    """Check that no weight is still as in a ``fresh`` model: timm skips names it does not know."""
    pairs = zip(model.named_parameters(), fresh.parameters(), strict=True)
    left = [n for (n, p), start in pairs if p.dim() > 1 and p.any() and torch.equal(p, start)]
    if left:
        raise InputError(
            f"backbone.settings.checkpoint: {checkpoint} has no weights for {len(left)} parts of "
            f"the model, such as {left[0]}. Is it a checkpoint of this model?"
        )
