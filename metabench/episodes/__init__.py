"""Episodes: batches of few-shot tasks, where they come from, and arithmetic on labels."""

from metabench.episodes.episodes import (
    Episodes,
    class_means,
    cross_entropy,
    gather,
    one_hot,
    restore_names,
    take,
    task_loss,
)

__all__ = [
    "Episodes",
    "class_means",
    "cross_entropy",
    "gather",
    "one_hot",
    "restore_names",
    "take",
    "task_loss",
]
