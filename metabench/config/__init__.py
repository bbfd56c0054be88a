"""``params.yaml`` as typed, validated settings."""

from metabench.config.schema import (
    TRACKS,
    BackboneChoice,
    Budget,
    Compute,
    Config,
    Evaluation,
    Setting,
    Strict,
    Track,
    Training,
    Variant,
    disagreements,
    load,
    read,
    validated,
)

__all__ = [
    "TRACKS",
    "BackboneChoice",
    "Budget",
    "Compute",
    "Config",
    "Evaluation",
    "Setting",
    "Strict",
    "Track",
    "Training",
    "Variant",
    "disagreements",
    "load",
    "read",
    "validated",
]
