"""Train every method on every source, for every seed."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import run_cells
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``runs/<source>/<method>/<level>/<seed>/``; what is finished is kept."""
    with lock(layout.root / "runs"):
        run_cells(jobs_of("train", part.learners(config), config, layout), config.compute)


if __name__ == "__main__":
    run(main, __doc__)
