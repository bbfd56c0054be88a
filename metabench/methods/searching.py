"""What can be chosen of a method: the settings that have an effect, and where each is searched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metabench import rng
from metabench.backbones.base import Backbone
from metabench.backbones.frozen import Frozen
from metabench.config.search import Range, adapts, range_of, value_at
from metabench.methods.base import RECIPES, Method, Settings

EPISODE_FORM = {"tasks", "ways", "shots", "queries"}
BATCH_FORM = {"batch"}
PRETRAINING = {"pretraining", "pretraining_share"}
AUGMENTATION = {"augmentation", "support_augmentation"}
BY_SHOTS = "by_shots"
TRAINING = set(Settings.model_fields) - PRETRAINING - {BY_SHOTS}


def idle(method: type[Method], backbone: type[Backbone] | None = None) -> dict[str, str]:
    """The shared settings that change nothing of a method, each with the reason.

    Args:
        backbone: which it has; one that was pretrained elsewhere is not pretrained here.
    """
    elsewhere = backbone is not None and backbone.external_pretraining
    found: dict[str, str] = {}
    if method.start == "random" or elsewhere:
        reason = "its backbone was pretrained elsewhere" if elsewhere else "it starts at random"
        found |= dict.fromkeys(PRETRAINING, reason)
    elif method.source_training == "none":
        found["pretraining_share"] = "its pretraining has the whole budget"
    if method.adapts == "head" and "support_augmentation" in method.Settings.model_fields:
        found["support_augmentation"] = "it adapts to features that are computed once"
    if not any(map(adapts, method.Settings.model_fields.values())):
        found[BY_SHOTS] = "none of its settings is of prediction alone"
    if backbone and issubclass(backbone, Frozen):
        reason = "its backbone reads the vectors of a frozen encoder, which have no augmentation"
        found |= dict.fromkeys(AUGMENTATION, reason)
    names, reason = {
        "none": (TRAINING, "it is not trained on the source"),
        "supervised": (EPISODE_FORM, "it is trained on plain batches"),
        "episodic": (BATCH_FORM, "it is trained on episodes"),
    }[method.source_training]
    return found | dict.fromkeys(names, reason)


def effective(method: type[Method], backbone: type[Backbone] | None = None) -> list[str]:
    """Names of the settings that change anything: those of training only as far as it trains."""
    without = idle(method, backbone)
    return [name for name in method.Settings.model_fields if name not in without]


def searched(method: type[Method], backbone: type[Backbone] | None = None) -> dict[str, Range]:
    """Where each setting of a method is searched, with the ranges of its backbone before its own.

    A setting that has no effect, or no range, is not there; nor is the number of ways in training
    where it is that of all episodes.
    """
    fields = method.Settings.model_fields
    names = effective(method, backbone)
    own = {name: found for name in names if (found := range_of(fields[name]))}
    if not method.variable_ways:
        own.pop("ways", None)
    overridden = backbone.ranges if backbone else {}
    return own | {name: found for name, found in overridden.items() if name in own}


def place(trial: int, name: str, *attempt: int) -> float:
    """Where in its range (0 to 1) trial ``trial`` of any search has the setting ``name``.

    The recipes of pretraining are taken in turn, so that trial n of every method that starts
    pretrained has recipe n: as many pretrainings are tried as others try trainings, and each is
    computed once.

    Args:
        attempt: numbers of attempts that were given up.
    """
    if name == "pretraining":
        return (trial % RECIPES + 0.5) / RECIPES
    return float(rng.generator("search", trial, name, *attempt).random())


def drawn(
    method: type[Method], backbone: type[Backbone] | None, share_of: Callable[[str], float]
) -> dict[str, Any]:
    """A value of every setting that is searched.

    Args:
        share_of: where in its range the value of a setting lies, 0 to 1, by the setting's name.
    """
    fields, chosen = method.Settings.model_fields, dict[str, Any]()
    for name, within in searched(method, backbone).items():
        chosen[name] = value_at(fields[name], within, share_of(name), chosen)
    return chosen
