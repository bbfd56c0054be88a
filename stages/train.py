"""Train one method on one source, for every seed."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout, source: str, method: str) -> None:
    """Write ``runs/<source>/<method>/<seed>/``; finished cells are reused."""
    cell = "metabench.pipeline.cells:train_cell"
    shared = {"config": config, "layout": layout} | {"source": source, "method": method}
    with lock(layout.learner(source, method, 0).parent):
        run_cells(
            [
                Job(f"train {source}/{method}/{seed}", cell, shared | {"seed": seed})
                for seed in config.seeds_of(source, method)
            ],
            config.compute,
        )


if __name__ == "__main__":
    run(main, __doc__, "source", "method")
