"""Metrics: names in ``params.yaml`` to functions of what a learner answers. Add one here.

Those that every result holds are listed as ``ALWAYS`` in their module; the others are measured
where ``evaluation.metrics`` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from metabench.files import InputError
from metabench.registry import Registry

if TYPE_CHECKING:  # names are looked up without torch
    from torch import Tensor

Metric = Callable[["Tensor", "Tensor"], Mapping[str, "Tensor"]]
"""``(outputs, truth) -> numbers``: from the logits ``[T, Q, K]`` and labels ``[T, Q]`` of a batch
of episodes (regression: predictions and targets ``[T, Q, D]``) named numbers ``[T]``, one an
episode. Each name becomes a column."""

METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "accuracy": "metabench.learning.metrics.classification:accuracy",
        "nll": "metabench.learning.metrics.classification:nll",
        "brier": "metabench.learning.metrics.classification:brier",
        "macro_f1": "metabench.learning.metrics.classification:macro_f1",
        "mse": "metabench.learning.metrics.regression:mse",
        "mae": "metabench.learning.metrics.regression:mae",
    },
    group="metabench.metrics",
    base="collections.abc:Callable",
    classes=False,
)


def measure(
    always: Sequence[Metric], names: Iterable[str], outputs: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """The numbers of the metrics ``always``, then those ``[T]`` of the metrics called ``names``.

    Raises:
        InputError: unknown metric, one that fails, or one that returns anything else.
    """
    found = {column: v for metric in always for column, v in metric(outputs, truth).items()}
    for name in names:
        metric = METRICS.load(name)
        if metric in always:
            continue
        try:
            numbers = dict(metric(outputs, truth))
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"metric '{name}': {type(error).__name__}: {error}") from error
        for column, values in numbers.items():
            shape = tuple(getattr(values, "shape", ()))
            if shape != outputs.shape[:1]:
                raise InputError(
                    f"metric '{name}': {column} is of shape {shape}. Return one number for each "
                    f"episode, ({len(outputs)},) here"
                )
            if column in found:
                raise InputError(f"metric '{name}': {column} is another metric's. Rename it")
            found[column] = values
    return found


__all__ = ["METRICS", "Metric", "measure"]
