"""Pretrain the shared backbone of one source, for every seed."""

from metabench.cells import BACKBONE, Layout, pretrain_cell
from metabench.config import Config
from metabench.executor import Job, run_cells
from metabench.files import lock
from stages import run


def main(config: Config, layout: Layout, source: str) -> None:
    """Write ``runs/<source>/backbone/<seed>/``; finished cells are reused."""
    shared = {"config": config, "layout": layout} | {"source": source}
    with lock(layout.run(source, BACKBONE, 0).parent):
        run_cells(
            [
                Job(f"pretrain {source}/backbone/{seed}", pretrain_cell, shared | {"seed": seed})
                for seed in config.seeds
            ],
            config.compute,
        )


if __name__ == "__main__":
    run(main, __doc__, "source")
