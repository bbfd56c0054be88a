import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # sums are rounded alike only on as many threads

_MIRROR = Path(__file__).resolve().parents[2] / "shared" / "mirror"
if _MIRROR.is_dir():
    os.environ.setdefault("METABENCH_MIRROR", str(_MIRROR))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline's tests first: they share one project, so one worker has them all to run."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")
