"""Download and verify the datasets, and turn them into arrays."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``data/processed/<dataset>/``; what is finished is kept."""
    cell, shared = (
        "metabench.pipeline.data_cells:prepare_cell",
        {"config": config, "layout": layout},
    )
    with lock(layout.root / "data/processed"):
        with Finished(config, layout) as finished:
            jobs = [
                Job(f"download {name}", cell, shared | {"dataset": name}, finished.dataset(name))
                for name in part.datasets(config)
            ]
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
