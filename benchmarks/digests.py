"""What must be bit-equal before and after code is moved: digests, written once and compared later.

    python -m benchmarks.digests methods > before.json      # every registered method
    python -m benchmarks.digests project FOLDER > before.json      # a project after `dvc repro`
    python -m benchmarks.digests compare before.json after.json

*methods*: three training steps and one prediction of every method, on made-up data of each kind
that it applies to; digests of the weights and of the predictions. *project*: the arrays, the frozen
evaluation episodes, the trained weights and the per-episode scores of a project; times and costs
are left out. Digests hold for one kind of processor and one version of torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor

from metabench.backbones import build_backbone
from metabench.episodes import Episodes
from metabench.episodes.source import Examples, Source
from metabench.files import digest, read_json
from metabench.learning.pretraining import Pretrain
from metabench.methods import METHODS
from metabench.methods.base import Method, Task

WAYS, SHOTS, QUERIES, TASKS, CLASSES = 3, 2, 3, 2, 6
STEPS = 3
BACKBONES_USED: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "image": ("conv4", (1, 16, 16), {"width": 8}),
    "text": ("text_cnn", (12,), {"width": 16, "size": 8, "pieces": 512}),
    "vector": ("mlp", (8,), {"widths": (16, 16)}),
    "regression": ("mlp", (1,), {"widths": (16, 16)}),
}


class MadeUp(Source):
    """Noise around a pattern for each class, or around a line for each regression task."""

    def __init__(self, kind: str, shape: tuple[int, ...]):
        self.kind, self.shape = kind, shape
        self.patterns = self._noise(torch.Generator().manual_seed(1), CLASSES)

    def _noise(self, draw: torch.Generator, *size: int) -> Tensor:
        if self.kind == "text":
            return torch.randint(1, 500, (*size, *self.shape), generator=draw)
        return torch.randn(*size, *self.shape, generator=draw)

    def examples(self, classes: Tensor, draw: torch.Generator) -> Tensor:
        """Examples ``[..., *shape]`` of the given classes."""
        patterns, noise = self.patterns[classes], self._noise(draw, *classes.shape)
        if self.kind == "text":
            return torch.where(torch.rand(noise.shape, generator=draw) < 0.7, patterns, noise)
        return patterns + 0.3 * noise

    def episodes(self, step: int) -> Episodes:
        """The training episodes of a step."""
        draw = torch.Generator().manual_seed(100 + step)
        if self.kind == "regression":
            x = torch.randn(TASKS, SHOTS + QUERIES, 1, generator=draw)
            y = torch.randn(TASKS, 1, 1, generator=draw) * x
            return Episodes(x[:, :SHOTS], y[:, :SHOTS], x[:, SHOTS:], y[:, SHOTS:], None)
        chosen = torch.stack([torch.randperm(CLASSES, generator=draw)[:WAYS] for _ in range(TASKS)])
        labels = torch.arange(WAYS).repeat(TASKS, SHOTS + QUERIES)  # [T, (S + Q) ways]
        x = self.examples(chosen.gather(1, labels), draw)
        split = WAYS * SHOTS
        return Episodes(x[:, :split], labels[:, :split], x[:, split:], labels[:, split:], WAYS)

    def batch(self, step: int) -> Examples:
        """The plain batch of a step."""
        draw = torch.Generator().manual_seed(200 + step)
        if self.kind == "regression":
            x = torch.randn(16, 1, generator=draw)
            return Examples(x, 2 * x)
        labels = torch.randint(CLASSES, (16,), generator=draw)
        return Examples(self.examples(labels, draw), labels)

    def features(
        self, embed: Any, limit: int = 5000, augmentation: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Features and labels of four examples of each class."""
        if self.kind == "regression":
            batch = self.batch(-1)
            x, y = batch.x, batch.y
        else:
            y = torch.arange(CLASSES).repeat_interleave(4)
            x = self.examples(y, torch.Generator().manual_seed(2))
        with torch.no_grad():
            return embed(x[None])[0], y


def digest_of(tensors: dict[str, Tensor]) -> str:
    """One digest of named tensors."""
    parts: list[bytes | str | Path] = []
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous().numpy()
        parts += [name, str(array.dtype), str(array.shape), array.tobytes()]
    return digest(*parts)


def digests_of_method(cls: type[Method], kind: str) -> dict[str, str]:
    """Weights after :data:`STEPS` training steps, and the predictions of that learner."""
    name, shape, settings = BACKBONES_USED[kind]
    source = MadeUp(kind, shape)
    ways, classes, outputs = (0, 0, 1) if kind == "regression" else (WAYS, CLASSES, 0)
    torch.manual_seed(0)
    task = Task(kind, ways, classes, outputs)  # type: ignore[arg-type]
    learner = cls(build_backbone(name, shape, **settings), task, cls.Settings())
    if cls.source_training != "none":
        optimizer = torch.optim.AdamW(learner.parameter_groups(), lr=1e-3)
        learner.train()
        for step in range(STEPS):
            torch.manual_seed(step)
            made = source.batch if cls.source_training == "supervised" else source.episodes
            loss = learner.loss(made(step), step / STEPS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    learner.eval()
    learner.fit_source_statistics(source)
    torch.manual_seed(0)
    predicted = learner.predict(source.episodes(99))
    return {
        "weights": digest_of(learner.state_dict()),
        "prediction": digest_of({"prediction": predicted}),
    }


def digests_of_methods() -> dict[str, dict[str, str]]:
    """The digests of every registered method and of the pretraining, by ``name/kind``."""
    learners: dict[str, type[Method]] = {name: METHODS.load(name) for name in METHODS.names()}
    return {
        f"{name}/{kind}": digests_of_method(cls, kind)
        for name, cls in (learners | {"backbone": Pretrain}).items()
        for kind in BACKBONES_USED
        if kind in cls.kinds
    }


def _arrays(path: Path) -> dict[str, str]:
    with np.load(path, allow_pickle=False) as file:
        return {name: digest(str(file[name].dtype), file[name].tobytes()) for name in file.files}


def _weights(path: Path) -> str:
    with safe_open(path, "pt") as file:
        return digest_of({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _scores(path: Path) -> str:
    """Everything that was measured but times: the file's bytes hold a writer's version."""
    return digest(pd.read_parquet(path).to_csv(index=False))


def digests_of_project(root: Path) -> dict[str, Any]:
    """Digests of what a project's ``dvc repro`` has made, by path."""
    readers = {
        "data/processed/**/classes.json": lambda path: read_json(path)["digest"],
        "data/episodes/**/*.npz": _arrays,
        "backbones/**/model.safetensors": _weights,
        "runs/**/model.safetensors": _weights,
        "results/**/*.parquet": _scores,
    }
    return {
        str(path.relative_to(root)): read(path)
        for pattern, read in readers.items()
        for path in sorted(root.glob(pattern))
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is missing, new or not the same, a line each."""
    lines = [f"missing: {name}" for name in before.keys() - after.keys()]
    lines += [f"new: {name}" for name in after.keys() - before.keys()]
    lines += [f"differs: {n}" for n in before.keys() & after.keys() if before[n] != after[n]]
    return sorted(lines)


def main(what: str, *paths: str) -> int:
    """Print digests, or compare two files of them; the exit status."""
    if what == "compare":
        before, after = (read_json(Path(path)) for path in paths)
        lines = differences(before, after)
        print(*lines, f"{len(before)} digests, {len(lines)} differences", sep="\n")
        return int(bool(lines) or not before)
    torch.set_num_threads(1)
    found = digests_of_methods() if what == "methods" else digests_of_project(Path(paths[0]))
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
