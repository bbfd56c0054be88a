"""Freeze the validation and test episodes of the datasets."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``data/episodes/<dataset>/{val,test}/*.npz``; what is finished is kept."""
    cell = "metabench.pipeline.data_cells:freeze_cell"
    shared = {"config": config, "layout": layout}
    with lock(layout.root / "data/episodes"):
        with Finished(config, layout) as finished:
            jobs = [
                Job(f"freeze {name}", cell, shared | {"dataset": name}, finished.episodes(name))
                for name in part.datasets(config)
            ]
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
