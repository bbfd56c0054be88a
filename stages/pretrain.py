"""Pretrain the backbone that learners of a source share, for every source and seed."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``backbones/<source>/<seed>/``; what is finished is kept."""
    cell = "metabench.pipeline.cells:pretrain_cell"
    shared = {"config": config, "layout": layout}
    with lock(layout.root / "backbones"):
        with Finished(config, layout) as finished:
            jobs = [
                Job(
                    f"pretrain {source}/{seed}",
                    cell,
                    shared | {"source": source, "seed": seed},
                    finished.backbone(source, seed),
                )
                for source, seed in part.backbones(config)
            ]
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
