"""Validation of ``params.yaml`` against the code: names of things, and their hyper-parameters."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from metabench.backbones import BACKBONES
from metabench.config import TRACKS, Config, Track, explain
from metabench.data import DATASETS
from metabench.files import InputError
from metabench.methods import METHODS


def check_names(config: Config) -> None:
    """Validate all that needs the code: dataset, method and backbone names, hyper-parameters.

    Raises:
        InputError: naming the key, the value and the nearest valid names.
    """
    for name in config.datasets:
        DATASETS.load(name)
    for label in TRACKS:
        track: Track = getattr(config, label)
        if not track.sources:
            continue
        BACKBONES.load(track.backbone.name)
        kinds = {DATASETS.load(source).kind for source in track.sources}
        for method_name in track.methods:
            method = METHODS.load(method_name)
            if not kinds <= method.kinds:
                raise InputError(
                    f"params.yaml: {label}.methods: '{method_name}' does not apply to "
                    f"{', '.join(sorted(kinds - method.kinds))} data"
                )
    for source, methods in config.methods.items():
        for name, settings in methods.items():
            method_settings(name, settings, f"params.yaml: methods.{source}.{name}")


def method_settings(name: str, values: dict[str, Any], where: str) -> Any:
    """The validated hyper-parameters of method ``name``.

    Raises:
        InputError: unknown method, unknown key or wrong value.
    """
    model = METHODS.load(name).Settings
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model, where) from error
