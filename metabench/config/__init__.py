"""``params.yaml`` as typed, validated settings."""

from metabench.config.schema import Compute, Config, disagreements, load, of_text, read, validated
from metabench.config.task_types import (
    BackboneChoice,
    Budget,
    Evaluation,
    Setting,
    Strict,
    TaskType,
    Training,
    Variant,
    setting_label,
)

__all__ = [
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
    "of_text",
    "read",
    "setting_label",
    "validated",
]
