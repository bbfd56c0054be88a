"""What it costs to look at finished cells: the stage `train` itself, and DVC around it.

    python -m benchmarks.finished_cells [CELLS ...]        # 1000 and 10000

A project with made-up data and made-up learners of ten kilobytes each, as training leaves them, for
40 methods and 5 sources; the number of seeds makes up the number of cells. *First look*: every file
is read. *Another look*: the stage starts, finds all finished and ends. *no-op*: `dvc repro train`
with nothing to do, DVC's own look at the folder `runs` included. All in seconds of processor time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml

from benchmarks.kills import small_project
from metabench.config import Config
from metabench.data.base import ClassInfo, Dataset, Partition
from metabench.files import digest, write_json
from metabench.methods import METHODS
from metabench.pipeline.cells import freeze_dataset
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE

SOURCES = ("glyphs", "digits", "omniglot", "cifar_fs", "cub")
FILES = {"model.safetensors": 10_000, "curve.csv": 300, "cost.json": 200}
"""Bytes of what a learner's folder holds beside ``cell.json``."""


def parameters(cells: int) -> dict[str, Any]:
    """A ``params.yaml`` that asks for ``cells`` learners."""
    methods = [n for n in METHODS.names() if {"image"} <= METHODS.load(n).kinds][:40]
    values: dict[str, Any] = yaml.safe_load(Path("profiles/smoke.yaml").read_text())
    values["seeds"] = list(range(cells // (len(methods) * len(SOURCES))))
    values["classification"] |= {"sources": list(SOURCES), "targets": [], "methods": methods}
    del values["regression"], values["settings"]
    return values


def make_up(config: Config, layout: Layout) -> int:
    """Write data and learners that look finished; returns the number of learners."""
    classes = tuple(
        ClassInfo(f"{part}{i}", "made up", part) for part in get_args(Partition) for i in range(5)
    )
    y = np.repeat(np.arange(len(classes)), 20)
    x = np.zeros((len(y), 1, 28, 28), np.uint8)
    for name in SOURCES:
        Dataset(name, "image", x, y, classes).save(layout.processed(name))
        freeze_dataset(config, layout, name)
    for empty in ("data/embeddings", "backbones"):
        (layout.root / empty).mkdir(parents=True)
    keys, number = Keys(config, layout), 0
    for number, (source, method, level, seed) in enumerate(WHOLE.learners(config), 1):
        folder = layout.at(level).learner(source, method, seed)
        folder.mkdir(parents=True)
        for name, size in FILES.items():
            (folder / name).write_bytes(number.to_bytes(4, "big") * (size // 4))
        found = {name: digest(folder / name) for name in FILES}
        cell = {
            "key": keys.learner(source, method, seed), "method": method, "settings": {},
            "backbone": {"name": "conv4", "settings": {}}, "input_shape": [1, 28, 28],
            "task": {"kind": "image", "ways": 5, "classes": 5, "outputs": 0}, "source": source,
            "seed": seed, "val": 0.5, "git_commit": "0123456789",
            "weights": found.pop("model.safetensors"), "files": found,
        }  # fmt: skip
        write_json(folder / "cell.json", cell)
    return number


def seconds(root: Path, environment: dict[str, str], *command: str) -> float:
    """Processor time of a command in ``root``: other work on the machine counts little."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(cells: int, root: Path) -> None:
    """Print a row of the table."""
    environment = small_project(root)
    (root / "params.yaml").write_text(yaml.safe_dump(parameters(cells), sort_keys=False))
    config = Config.model_validate(yaml.safe_load((root / "params.yaml").read_text()))
    os.chdir(root)
    number = make_up(config, Layout())
    stage = [sys.executable, "-m", "stages.train"]
    first, second = (seconds(root, environment, *stage) for _ in range(2))
    subprocess.run(["dvc", "init", "-q"], cwd=root, env=environment)  # it is there in a checkout
    seconds(root, environment, sys.executable, "-m", "stages.plan")
    made = ["plan", "download", "episodes", "embed", "pretrain"]
    seconds(root, environment, "dvc", "commit", "-q", "-f", *made)
    stored = seconds(root, environment, "dvc", "repro", "train")
    nothing = seconds(root, environment, "dvc", "repro", "train")
    print(f"| {number} | {first:.1f} s | {second:.1f} s | {stored:.1f} s | {nothing:.1f} s |")


def main(*numbers: int) -> None:
    """Measure each number of cells in a folder of its own."""
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}\n")
    print("| cells | first look | another look | DVC stores all | no-op |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    here = Path.cwd()
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="finished-") as name:
            measure(number, Path(name))
            os.chdir(here)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or (1000, 10000)))
