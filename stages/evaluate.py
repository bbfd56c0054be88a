"""Evaluate one method of one source on every target and setting, for every seed."""

from metabench.cells import Layout
from metabench.config import Config
from metabench.executor import Job, run_cells
from metabench.files import lock
from metabench.results import evaluate_cell, track_cell
from stages import run


def main(config: Config, layout: Layout, source: str, method: str) -> None:
    """Write ``results/<source>/<method>/<seed>.parquet``; finished cells are reused."""
    shared = {"config": config, "layout": layout} | {"source": source, "method": method}
    with lock(layout.result(source, method, 0).parent):
        run_cells(
            [
                Job(f"evaluate {source}/{method}/{seed}", evaluate_cell, shared | {"seed": seed})
                for seed in config.seeds_of(source, method)
            ],
            config.compute,
        )
        for seed in config.seeds_of(source, method):
            track_cell(config, layout, source, method, seed)


if __name__ == "__main__":
    run(main, __doc__, "source", "method")
