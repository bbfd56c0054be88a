"""Pretrain the shared backbone of one source, for every seed."""

from metabench.config import Config
from metabench.config.names import BACKBONE
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout, source: str) -> None:
    """Write ``runs/<source>/backbone/<seed>/``; finished cells are reused."""
    cell = "metabench.pipeline.cells:pretrain_cell"
    shared = {"config": config, "layout": layout} | {"source": source}
    with lock(layout.learner(source, BACKBONE, 0).parent):
        run_cells(
            [
                Job(f"pretrain {source}/backbone/{seed}", cell, shared | {"seed": seed})
                for seed in config.seeds
            ],
            config.compute,
        )


if __name__ == "__main__":
    run(main, __doc__, "source")
