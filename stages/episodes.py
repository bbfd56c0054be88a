"""Freeze the validation and test episodes of one dataset."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.cells import freeze_dataset
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout, dataset: str) -> None:
    """Write ``data/episodes/<dataset>/{val,test}/<ways>w<shots>s.npz``."""
    with lock(layout.episodes(dataset, "test").parent):
        freeze_dataset(config, layout, dataset)


if __name__ == "__main__":
    run(main, __doc__, "dataset")
