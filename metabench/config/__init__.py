"""``params.yaml`` as typed, validated settings."""

from metabench.config.schema import Compute, Config, disagreements, load, of_text, read, validated
from metabench.config.task_types import (
    BackboneChoice,
    Budget,
    Evaluation,
    Level,
    Setting,
    Strict,
    TaskType,
    Training,
    Variant,
    main_level,
    setting_label,
)

__all__ = [
    "BackboneChoice",
    "Budget",
    "Compute",
    "Config",
    "Evaluation",
    "Level",
    "Setting",
    "Strict",
    "TaskType",
    "Training",
    "Variant",
    "disagreements",
    "load",
    "main_level",
    "of_text",
    "read",
    "setting_label",
    "validated",
]
