"""Pretrain the backbone that learners of a source share, for every source and seed."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import run_cells
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``backbones/<source>/<seed>/``; what is finished is kept."""
    with lock(layout.root / "backbones"):
        run_cells(jobs_of("pretrain", part.backbones(config), config, layout), config.compute)


if __name__ == "__main__":
    run(main, __doc__)
