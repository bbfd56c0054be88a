"""Evaluate every learner on every target and setting of its task type."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from metabench.tracking.tracker import Tracker
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``results/<source>/<method>/<seed>.parquet``; what is finished is kept."""
    cell = "metabench.pipeline.evaluating:evaluate_cell"
    shared = {"config": config, "layout": layout}
    with lock(layout.root / "results"), Tracker(config, layout) as tracker:
        with Finished(config, layout) as finished:
            jobs = [
                Job(
                    f"evaluate {source}/{method}/{seed}",
                    cell,
                    shared | {"source": source, "method": method, "seed": seed},
                    finished.result(source, method, seed),
                )
                for source, method, seed in part.learners(config)
            ]

        def track(job: Job) -> None:
            tracker.track(*(job.arguments[name] for name in ("source", "method", "seed")))

        for job in jobs:
            if job.finished:  # a stage that was killed may not have come to log it
                track(job)
        run_cells(jobs, config.compute, track)


if __name__ == "__main__":
    run(main, __doc__)
