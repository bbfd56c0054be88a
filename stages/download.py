"""Download and verify one dataset, and turn it into arrays."""

from metabench.config import Config
from metabench.data.download import prepare
from metabench.files import lock
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout, dataset: str) -> None:
    """Write ``data/processed/<dataset>``."""
    with lock(layout.processed(dataset)):
        prepare(dataset, layout.root / "data/raw", layout.root / "data/processed")


if __name__ == "__main__":
    run(main, __doc__, "dataset")
