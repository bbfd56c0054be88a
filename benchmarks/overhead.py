"""What a cell and a stage cost beside the work: processes, imports, data, MLflow; and a no-op.

Run in a project in which ``dvc repro`` has finished, on any profile:

    python -m benchmarks.overhead [SOURCE]

A cell with nothing to train (``nearest_neighbour``) is trained, and then evaluated on a handful of
episodes and tracked, in a temporary folder beside links to the project's data; then ``dvc repro``
is timed where there is nothing to do. The stages run as DVC runs them, each a fresh process.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from metabench.config import load
from metabench.files import InputError
from metabench.pipeline.cells import freeze_dataset
from metabench.pipeline.layout import Layout

METHOD = "nearest_neighbour"


def seconds(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall time of a command in ``folder``, and what it printed."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise InputError(f"{' '.join(command)}: {ended.stdout}{ended.stderr}")
    return time.perf_counter() - start, ended.stdout


def small_project(folder: Path, source: str) -> None:
    """A project in ``folder`` with one method, one seed and five episodes of ``source``."""
    values = yaml.safe_load(Path("params.yaml").read_text())
    task_type = values["classification"]
    task_type["methods"], values["seeds"] = [METHOD], [0]
    task_type["sources"], task_type["targets"] = [source], []
    task_type["evaluation"] |= {"episodes": 5, "settings": task_type["evaluation"]["settings"][:1]}
    del values["regression"], values["settings"]
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    (folder / "data/processed").mkdir(parents=True)
    (folder / "data/processed" / source).symlink_to(Path("data/processed", source).resolve())
    freeze_dataset(load(folder / "params.yaml"), Layout(folder), source)


def main(source: str, repeats: int = 3) -> None:
    """Print medians in seconds."""
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}")
    times: dict[str, list[float]] = {
        "train": [],
        "evaluate and track": [],
        "dvc repro, no-op": [],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_project(folder, source)
        for _ in range(repeats):
            for written in ("runs", "results"):
                shutil.rmtree(folder / written, ignore_errors=True)
            for label, stage in (
                ("train", "stages.train"),
                ("evaluate and track", "stages.evaluate"),
            ):
                command = [sys.executable, "-m", stage]
                times[label].append(seconds(command, folder)[0])
            taken, output = seconds([sys.executable, "-m", "dvc", "repro"], Path())
            if "Running stage" in output:
                raise InputError("dvc repro had work to do: let it finish, then run this again")
            times["dvc repro, no-op"].append(taken)
    for label, values in times.items():
        print(f"{label:20} {statistics.median(values):6.2f} s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "glyphs")
