"""Train one method on one source, for every seed."""

from metabench.cells import Layout, train_cell
from metabench.config import Config
from metabench.executor import Job, run_cells
from metabench.files import lock
from stages import run


def main(config: Config, layout: Layout, source: str, method: str) -> None:
    """Write ``runs/<source>/<method>/<seed>/``; finished cells are reused."""
    shared = {"config": config, "layout": layout} | {"source": source, "method": method}
    with lock(layout.run(source, method, 0).parent):
        run_cells(
            [
                Job(f"train {source}/{method}/{seed}", train_cell, shared | {"seed": seed})
                for seed in config.seeds_of(source, method)
            ],
            config.compute,
        )


if __name__ == "__main__":
    run(main, __doc__, "source", "method")
