"""Train every method on every source, for every seed."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``runs/<source>/<method>/<seed>/``; what is finished is kept."""
    cell = "metabench.pipeline.cells:train_cell"
    shared = {"config": config, "layout": layout}
    with lock(layout.root / "runs"):
        with Finished(config, layout) as finished:
            jobs = [
                Job(
                    f"train {source}/{method}/{seed}",
                    cell,
                    shared | {"source": source, "method": method, "seed": seed},
                    finished.learner(source, method, seed),
                )
                for source, method, seed in part.learners(config)
            ]
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
