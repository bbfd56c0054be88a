"""Opening a trained learner: what its folder says is checked before anything is built."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from metabench.backbones import BACKBONES, build_backbone
from metabench.config import BackboneChoice
from metabench.data.base import LENGTH, LONGEST
from metabench.data.formats import WHITES
from metabench.files import (
    InputError,
    digest,
    read_bytes,
    read_record,
)
from metabench.methods import METHODS
from metabench.methods.base import Method, Task
from metabench.pipeline.validation import (
    learner_class,
    method_settings,
    validate_backbone,
)
from metabench.registry import Trust

Part = Literal["model.safetensors", "curve.csv", "cost.json"]
"""What a finished cell holds beside ``cell.json``."""

LARGEST_CELL, LARGEST_WEIGHTS, LARGEST_EXAMPLE = 2**14, 2**32, 2**24
"""Of what is opened: bytes of ``cell.json`` and of weights, numbers of which an example consists.

Lists of that many layers, such weights and such examples fit into memory.
"""

Count = Annotated[int, Field(ge=0, le=2**20)]
Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=4)]


class TaskFacts(BaseModel):
    """A :class:`~metabench.methods.base.Task` as ``cell.json`` holds it."""

    kind: Literal["image", "text", "vector", "regression"]
    ways: Count
    classes: Count
    outputs: Count = 0


class Cell(BaseModel):
    """``cell.json``: what a learner is, how it was made, and the digests of its files.

    ``trained`` is the key of its training, which learners with other settings by shots share.
    ``machine`` is what it was trained with (:func:`metabench.runtime.machine`). ``example_shape``
    is that of the source's examples, where ``input_shape`` is that of a frozen encoder's vectors.
    ``invert``, ``white`` and ``pieces`` say how examples are read, where a bench wrote it. Unknown
    fields are kept, since later versions may write more.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    key: str
    method: str
    settings: dict[str, Any]
    backbone: BackboneChoice
    task: TaskFacts
    input_shape: Annotated[Shape, Field(min_length=1)]
    example_shape: Shape = ()
    source: str
    seed: int
    val: float | None
    git_commit: str
    weights: str
    files: dict[Part, str] = Field(default_factory=dict)
    trained: str = ""
    machine: dict[str, Any] = Field(default_factory=dict)
    invert: bool = False
    white: dict[Literal["float", "whole"], float] = Field(default_factory=dict)
    pieces: int = Field(LENGTH, ge=1, le=LONGEST)

    @model_validator(mode="after")
    def _examples_can_be_read(self) -> Cell:
        for name in ("input_shape", "example_shape"):
            if math.prod(getattr(self, name)) > LARGEST_EXAMPLE:
                raise ValueError(f"{name}: more than {LARGEST_EXAMPLE} numbers")
        for numbers, value in self.white.items():
            if value not in WHITES[numbers]:
                raise ValueError(f"white.{numbers}: {value:g} is none of {WHITES[numbers]}")
        return self

    @property
    def dotted(self) -> dict[str, str]:
        """Method and backbone where they are dotted paths: what importing each would import."""
        backbone = self.backbone.name
        asked = {self.method: METHODS.imports(self.method), backbone: BACKBONES.imports(backbone)}
        return {name: module for name, module in asked.items() if module}

    @staticmethod
    def read(folder: Path) -> Cell:
        """What is known of the learner in ``folder``.

        Raises:
            InputError: unfinished, damaged, or not what such a file says.
        """
        return read_record(folder / "cell.json", Cell, LARGEST_CELL)


def load_learner(folder: Path, trust: Trust = False) -> tuple[Method, dict[str, Any]]:
    """The trained learner of a cell's folder, in eval mode, and its ``cell.json``.

    Args:
        trust: which dotted paths of ``cell.json`` may be imported: importing runs code.

    Raises:
        InputError: unfinished or damaged cell, one with sizes that are not those of its weights, or
            one whose method or backbone is neither registered nor trusted.
    """
    cell, where = Cell.read(folder), str(folder / "cell.json")
    _require_trust(cell, where, trust)
    choice = cell.backbone
    try:
        method_kinds = learner_class(cell.method).kinds
        backbone_kinds = BACKBONES.load(choice.name).kinds
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    kind = cell.task.kind
    for name, kinds in ((cell.method, method_kinds), (choice.name, backbone_kinds)):
        if kind not in kinds:
            raise InputError(
                f"{where}: task.kind: {kind}, but {name} takes {', '.join(sorted(kinds))}"
            )
    validate_backbone(choice, f"{where}: backbone.settings")
    settings = method_settings(cell.method, cell.settings, f"{where}: settings")
    weights = _weights(folder / "model.safetensors", cell.weights)

    def build() -> Method:
        backbone = build_backbone(choice.name, cell.input_shape, **choice.settings)
        return learner_class(cell.method)(backbone, Task(**cell.task.model_dump()), settings)

    try:
        sketch = None
        with suppress(Exception), torch.device("meta"):  # code of others may not bear that
            sketch = build()
        if sketch is not None:  # no memory is taken for sizes that are not those of the weights
            sketch.load_state_dict(weights, assign=True)
        method = build()
        method.load_state_dict(weights)
    except Exception as error:  # what sizes and settings of a file may do to a constructor
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{folder}: the weights do not fit cell.json, or are of other code ({reason}). Delete "
            "the folder and run `dvc repro`."
        ) from error
    return method.eval(), cell.model_dump(mode="json", exclude_unset=True)


def _require_trust(cell: Cell, where: str, trust: Trust) -> None:
    """Refuse code that ``cell.json`` alone asks for; the message says which.

    Raises:
        InputError: a dotted path that ``trust`` does not hold.
    """
    trusted = cell.dotted if trust is True else trust or ()
    refused = {name: module for name, module in cell.dotted.items() if name not in trusted}
    if refused:
        raise InputError(
            f"{where}: {' and '.join(refused)}: not registered, so to open this learner would "
            f"import {' and '.join(refused.values())}, which runs its code. If you know whose it "
            "is, pass trust=True to FewShotClassifier.from_run, or --trust to `metabench export`."
        )


def _weights(path: Path, recorded: str) -> dict[str, Tensor]:
    """The weights in ``path``, which must be those that ``cell.json`` records."""
    content = read_bytes(path, LARGEST_WEIGHTS)
    if digest(content) != recorded:
        raise InputError(
            f"{path}: damaged, or of another learner: its digest is not the one that cell.json "
            "records. Take both files from one run; or delete the folder and run `dvc repro`."
        )
    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a file of weights ({error})") from error
