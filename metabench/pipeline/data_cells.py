"""Data as cells: the arrays of a dataset and its frozen episodes, keyed, atomic and reusable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from metabench.config import Config
from metabench.data.builders import builder_of
from metabench.data.download import prepare
from metabench.files import InputError, digest, read_record, write_json
from metabench.learning.training import Report
from metabench.pipeline.cells import freeze_dataset
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout

RECORD = "made.json"


class Made(BaseModel):
    """``made.json``, written last: of what a folder was made, and the digests of its files."""

    key: str
    files: dict[str, str]


def is_made(folder: Path, key: str, digest_of: Callable[[Path], str] = digest) -> bool:
    """Whether ``folder`` was made of what ``key`` stands for, and every file is undamaged."""
    try:
        made = read_record(folder / RECORD, Made)
        return made.key == key and all(
            digest_of(folder / name) == found for name, found in made.files.items()
        )
    except (InputError, OSError):
        return False


def _finish(folder: Path, key: str) -> None:
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / RECORD)
    files = {str(path.relative_to(folder)): digest(path) for path in paths}
    write_json(folder / RECORD, {"key": key, "files": files})


def prepare_cell(report: Report, config: Config, layout: Layout, dataset: str) -> None:
    """Download and verify a dataset, and turn it into arrays."""
    folder, key = layout.processed(dataset), Keys(config, layout).dataset(dataset)
    if is_made(folder, key):
        return
    (folder / RECORD).unlink(missing_ok=True)
    builder = builder_of(config, dataset, layout.root)
    prepare(builder, layout.raw(dataset).parent, folder, layout.split_for(dataset))
    _finish(folder, key)


def freeze_cell(report: Report, config: Config, layout: Layout, dataset: str) -> None:
    """Freeze the validation and test episodes of a dataset."""
    folder, key = layout.episodes(dataset, "test").parent, Keys(config, layout).episodes(dataset)
    if is_made(folder, key):
        return
    (folder / RECORD).unlink(missing_ok=True)
    freeze_dataset(config, layout, dataset)
    _finish(folder, key)
