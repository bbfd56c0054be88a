"""``params.yaml`` as typed, validated settings."""

from metabench.config.schema import (
    TASK_TYPES,
    BackboneChoice,
    Budget,
    Compute,
    Config,
    Evaluation,
    Setting,
    Strict,
    TaskType,
    Training,
    Variant,
    disagreements,
    load,
    read,
    validated,
)

__all__ = [
    "TASK_TYPES",
    "BackboneChoice",
    "Budget",
    "Compute",
    "Config",
    "Evaluation",
    "Setting",
    "Strict",
    "TaskType",
    "Training",
    "Variant",
    "disagreements",
    "load",
    "read",
    "validated",
]
