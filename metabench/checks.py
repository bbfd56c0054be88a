"""Validation of ``params.yaml`` against the code: names of things, and their hyper-parameters."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from metabench.backbones import BACKBONES
from metabench.config import TRACKS, BackboneChoice, Config, Track, explain
from metabench.data import DATASETS
from metabench.files import InputError
from metabench.layout import BACKBONE
from metabench.methods import METHODS
from metabench.methods.base import Method
from metabench.pretraining import Pretrain


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
        for name in track.methods:
            method, choice = METHODS.load(track.variant(name).method), track.backbone_of(name)
            check_backbone(choice, f"params.yaml: {label}.variants.{name}.backbone.settings")
            for what, able in ((name, method), (choice.name, BACKBONES.load(choice.name))):
                if not kinds <= able.kinds:
                    raise InputError(
                        f"params.yaml: {label}: '{what}' does not apply to "
                        f"{', '.join(sorted(kinds - able.kinds))} data"
                    )
            if starts_shared(method, choice) and choice != track.backbone:
                raise InputError(
                    f"params.yaml: {label}.variants.{name}: {track.variant(name).method} starts "
                    f"from the source's pretrained backbone, which is {track.backbone.label}, not "
                    f"{choice.label}. Leave the variant's backbone out"
                )
            if method.start == "half" and track.budget.validations % 2:
                raise InputError(
                    f"params.yaml: {label}.budget.validations: {track.budget.validations} is odd, "
                    f"but {name} starts from the backbone as it is validated at half the budget. "
                    "Take an even number"
                )
    tracks: list[Track] = [getattr(config, label) for label in TRACKS]
    stands_for = {n: v.method for track in tracks for n, v in track.variants.items()}
    for source, methods in config.methods.items():
        for name, settings in methods.items():
            method_settings(
                stands_for.get(name, name), settings, f"params.yaml: methods.{source}.{name}"
            )


def starts_shared(method: type[Method], backbone: BackboneChoice) -> bool:
    """Whether the method starts from the source's shared pretrained backbone.

    A backbone that was pretrained elsewhere needs no pretraining here.
    """
    external = getattr(BACKBONES.load(backbone.name), "external_pretraining", False)
    return method.start != "random" and not external


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


def learner_class(name: str) -> type[Method]:
    """The registered method ``name``, or the pretraining (``backbone``)."""
    return Pretrain if name == BACKBONE else METHODS.load(name)


def method_settings(name: str, values: dict[str, Any], where: str) -> Any:
    """The validated hyper-parameters of method ``name``, or of the pretraining (``backbone``).

    Raises:
        InputError: unknown method, unknown key or wrong value.
    """
    model = learner_class(name).Settings
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain(error, model, where) from error
