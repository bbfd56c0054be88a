"""Look at params.yaml and at all code that it names; write what each later stage depends on.

DVC runs this at every `dvc repro`. Where nothing has changed since the last look, which takes half
a second, that is all; otherwise params.yaml is validated, which imports what it names.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

import metabench
from metabench.backbones import BACKBONES
from metabench.config import Config, read
from metabench.data import DATASETS
from metabench.data.builders import own_data
from metabench.files import InputError, digest, read_json, write_json
from metabench.learning.metrics import METRICS
from metabench.methods import METHODS
from metabench.pipeline.fingerprint import code_fingerprint, key_of, named_files
from metabench.pipeline.layout import Layout
from stages import run

LOOK = "look.json"


def main(config: Config, layout: Layout) -> None:
    """Write ``data/plan/**.json``; DVC reruns a stage when its own file changes, and only then."""
    folder, look = layout.root / "data/plan", None
    with suppress(InputError):  # an unknown name: validation says more of it
        look = look_of(config)
    if look is not None and is_current(folder, look):
        return
    from metabench.pipeline.planning import fingerprints, outside_files
    from metabench.pipeline.validation import (
        validate_names,  # these import torch and what params.yaml names
    )

    validate_names(config, layout.root)
    wanted = {folder / f"{name}.json": found for name, found in fingerprints(config).items()}
    for path in _written(folder):
        if path not in wanted:
            path.unlink()
    for path, found in wanted.items():
        write_json(path, found)
    outside = {str(path): _state(path) for path in outside_files(config)}
    written = digest(*_written(folder))
    write_json(folder / LOOK, {"look": look, "outside": outside, "written": written})


def look_of(config: Config) -> str:
    """Digest of params, of this code byte by byte, and of what is beyond the repository.

    That is: the code of third parties, which is followed wherever it leads; installed packages by
    name and version; files that settings name; variables that say where weights and data are.

    Raises:
        InputError: an unknown name.
    """
    entries = {name: entry for name, entry in config.datasets.items() if name in config.used}
    modules = {DATASETS.module(name) for name in config.used if name not in entries}
    data = {name: own_data().files_of(name, entry) for name, entry in entries.items()}
    for task_type in config.task_types.values():
        modules |= set(map(METRICS.module, task_type.evaluation.metrics))
        modules |= {METHODS.module(task_type.variant(name).method) for name in task_type.methods}
        choices = [task_type.backbone, *map(task_type.backbone_of, task_type.methods)]
        modules |= {BACKBONES.module(choice.name) for choice in choices}
    values = config.values()
    here = [Path(metabench.__file__).parent, Path(__file__).parent]
    own = sorted(p for folder in here for p in folder.rglob("*") if p.is_file())
    places = (Path(place) for place in sys.path)
    return key_of(
        params=values,
        own=[(str(path), digest(path)) for path in own if path.suffix != ".pyc"],
        others=code_fingerprint(
            *(m for m in sorted(modules) if m.split(".")[0] != metabench.__name__)
        ),
        installed=[sys.version, *(p.name for place in places for p in place.glob("*-info"))],
        files=[(str(path), _state(path)) for path in named_files(values)],
        data=[(place, _state(path)) for found in data.values() for place, path in found.items()],
        variables={k: v for k, v in os.environ.items() if k.startswith(("METABENCH_", "HF_"))},
    )


def is_current(folder: Path, look: str) -> bool:
    """Whether the last look found the same, and what it wrote is still there."""
    try:
        last = read_json(folder / LOOK)
        same = all(_state(Path(path)) == state for path, state in last["outside"].items())
        return bool(last["look"] == look and same and last["written"] == digest(*_written(folder)))
    except (InputError, KeyError, TypeError, AttributeError):
        return False


def _written(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.json") if path != folder / LOOK)


def _state(path: Path) -> list[int] | None:
    """Size and time of a file: what a look affords to know of one that may be large."""
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None


if __name__ == "__main__":
    run(main, __doc__, load=read)
