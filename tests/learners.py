"""Learners that were never trained, in a run folder as training leaves it: made in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from metabench.backbones import build_backbone
from metabench.files import digest
from metabench.methods import METHODS
from metabench.methods.base import Task

IMAGE = {"backbone": {"name": "conv4", "settings": {"width": 4}}, "input_shape": [1, 16, 16]}
VECTOR = {"backbone": {"name": "mlp", "settings": {"widths": [4]}}, "input_shape": [3]}
TEXT = {"backbone": {"name": "text_cnn", "settings": {"width": 4}}, "input_shape": [64]}


def untrained(folder: Path, method: str = "protonet", kind: str = "image", **facts: Any) -> Path:
    """Write ``cell.json`` and weights of a fresh learner to ``folder``."""
    chosen = {"image": IMAGE, "vector": VECTOR, "text": TEXT}[kind] | facts
    cls = METHODS.load(method)
    settings, task = cls.Settings(), {"kind": kind, "ways": 5, "classes": 10, "outputs": 0}
    name, choices = chosen["backbone"]["name"], chosen["backbone"]["settings"]
    backbone = build_backbone(name, tuple(chosen["input_shape"]), **choices)
    learner = cls(backbone, Task(**task), settings)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    save_file({n: w.contiguous() for n, w in learner.state_dict().items()}, weights)
    cell = {
        "key": "0" * 32,
        "method": method,
        "settings": settings.model_dump(mode="json"),
        "task": task,
        "source": "glyphs",
        "seed": 0,
        "val": 0.5,
        "git_commit": "0123456789",
        "weights": digest(weights),
        "files": {},
    }
    (folder / "cell.json").write_text(json.dumps(cell | chosen))
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Replace fields of ``cell.json``."""
    path = folder / "cell.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
