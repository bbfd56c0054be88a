"""What can be chosen of a method: the settings that have an effect, and where each is searched."""

from __future__ import annotations

from metabench.backbones.base import Backbone
from metabench.config.search import Range, range_of
from metabench.methods.base import Method, Settings

EPISODE_FORM = {"tasks", "ways", "shots", "queries"}
BATCH_FORM = {"batch"}


def effective(method: type[Method]) -> list[str]:
    """Names of the settings that change anything: those of training only as far as it trains."""
    idle = {
        "none": set(Settings.model_fields),
        "supervised": EPISODE_FORM,
        "episodic": BATCH_FORM,
    }[method.source_training]
    return [name for name in method.Settings.model_fields if name not in idle]


def searched(method: type[Method], backbone: type[Backbone] | None = None) -> dict[str, Range]:
    """Where each setting of a method is searched, with the ranges of its backbone before its own.

    A setting that has no effect, or no range, is not there.
    """
    fields = method.Settings.model_fields
    own = {name: found for name in effective(method) if (found := range_of(fields[name]))}
    overridden = backbone.ranges if backbone else {}
    return own | {name: found for name, found in overridden.items() if name in own}
