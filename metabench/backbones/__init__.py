"""Backbones, one file each: the registry. The protocol is in :mod:`metabench.backbones.base`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metabench.files import InputError
from metabench.registry import Registry

if TYPE_CHECKING:  # names are looked up without torch
    from metabench.backbones.base import Backbone

BACKBONES: Registry[type[Backbone]] = Registry(
    "backbone",
    {
        "conv4": "metabench.backbones.conv4:Conv4",
        "resnet12": "metabench.backbones.resnet12:ResNet12",
        "timm": "metabench.backbones.timm_model:Timm",
        "timm_frozen": "metabench.backbones.timm_model:TimmFrozen",
        "efficientnet_lite0": "metabench.backbones.efficientnet:EfficientNetLite0",
        "efficientnet_lite1": "metabench.backbones.efficientnet:EfficientNetLite1",
        "efficientnet_lite2": "metabench.backbones.efficientnet:EfficientNetLite2",
        "efficientnet_lite0_frozen": "metabench.backbones.efficientnet:EfficientNetLite0Frozen",
        "efficientnet_lite1_frozen": "metabench.backbones.efficientnet:EfficientNetLite1Frozen",
        "efficientnet_lite2_frozen": "metabench.backbones.efficientnet:EfficientNetLite2Frozen",
        "mlp": "metabench.backbones.mlp:MLP",
        "text_cnn": "metabench.backbones.text_cnn:TextCNN",
        "minilm": "metabench.backbones.minilm:MiniLM",
        "minilm_frozen": "metabench.backbones.minilm:MiniLMFrozen",
        "text_encoder_frozen": "metabench.backbones.text_encoder:TextEncoderFrozen",
    },
    group="metabench.backbones",
    base="metabench.backbones.base:Backbone",
)


def build_backbone(name: str, input_shape: tuple[int, ...], **settings: Any) -> Backbone:
    """Build the backbone registered as ``name`` for examples of ``input_shape``.

    Raises:
        InputError: unknown name, or it cannot be built for such examples with such settings.
    """
    cls = BACKBONES.load(name)
    try:
        return cls(input_shape, **settings)
    except (ValueError, TypeError, RuntimeError) as error:
        shape = "×".join(map(str, input_shape))
        raise InputError(
            f"backbone '{name}': cannot be built for examples of shape {shape} with settings "
            f"{settings}: {error}"
        ) from error


__all__ = ["BACKBONES", "build_backbone"]
