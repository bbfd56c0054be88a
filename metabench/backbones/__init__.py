"""Backbones, one file each: the registry. The protocol is in :mod:`metabench.backbones.base`."""

from __future__ import annotations

from typing import Any

from metabench.backbones.base import Backbone
from metabench.registry import Registry

BACKBONES: Registry[type[Backbone]] = Registry(
    "backbone",
    {
        "conv4": "metabench.backbones.conv4:Conv4",
        "resnet12": "metabench.backbones.resnet12:ResNet12",
        "timm": "metabench.backbones.timm_model:Timm",
        "mlp": "metabench.backbones.mlp:MLP",
        "words": "metabench.backbones.words:Words",
        "minilm": "metabench.backbones.minilm:MiniLM",
        "minilm_frozen": "metabench.backbones.minilm:MiniLMFrozen",
    },
    group="metabench.backbones",
)


def build_backbone(name: str, input_shape: tuple[int, ...], **settings: Any) -> Backbone:
    """Build the backbone registered as ``name`` for examples of ``input_shape``."""
    return BACKBONES.load(name)(input_shape, **settings)


__all__ = ["BACKBONES", "Backbone", "build_backbone"]
