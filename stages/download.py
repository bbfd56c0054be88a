"""Download and verify the datasets, and turn them into arrays."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import run_cells
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from metabench.pipeline.splits import data_cells
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``data/processed/<dataset>/``; what is finished is kept."""
    cells = data_cells(config, part.datasets(config))
    with lock(layout.root / "data/processed"):
        run_cells(jobs_of("download", cells, config, layout), config.compute)


if __name__ == "__main__":
    run(main, __doc__)
