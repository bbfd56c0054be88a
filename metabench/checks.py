"""Validation of ``params.yaml`` against the code: names of things, and their hyper-parameters."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from metabench.backbones import BACKBONES
from metabench.config import TRACKS, BackboneChoice, Config, Track, explain
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
        check_backbone(track.backbone, f"params.yaml: {label}.backbone.settings")
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


def check_backbone(choice: BackboneChoice, where: str) -> None:
    """Validate a backbone's name, and its settings against the signature of its constructor.

    Values go to the constructor as they are, so ``"64"`` is no number here.

    Raises:
        InputError: unknown backbone, unknown or missing setting, or wrong type.
    """
    constructor = BACKBONES.load(choice.name).__init__
    hints = get_type_hints(constructor)
    _, _, *parameters = inspect.signature(constructor).parameters.values()  # self, input_shape
    variadic = inspect.Parameter.VAR_KEYWORD
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is not variadic
    }
    extra = "allow" if any(p.kind is variadic for p in parameters) else "forbid"
    config = ConfigDict(extra=extra, strict=True, protected_namespaces=())  # type: ignore[typeddict-item]
    model: type[BaseModel] = create_model(f"{choice.name}.settings", __config__=config, **fields)
    try:
        model.model_validate(choice.settings)
    except ValidationError as error:
        raise explain(error, model, where) from error


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
