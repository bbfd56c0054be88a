"""Evaluate every learner on every target and setting of its task type."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.engine import Job
from metabench.pipeline.executor import run_cells
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from metabench.tracking.tracker import Tracker
from stages import run

TRACKED = ("layout", "source", "method", "seed")


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``results/<source>/<method>/<level>/<seed>.parquet``; what is finished is kept."""
    with lock(layout.root / "results"), Tracker(config, layout) as tracker:
        jobs = jobs_of("evaluate", part.learners(config), config, layout)

        def track(job: Job) -> None:
            tracker.track(*(job.arguments[name] for name in TRACKED))

        for job in jobs:
            if job.finished:  # a stage that was killed may not have come to log it
                track(job)
        run_cells(jobs, config.compute, track)


if __name__ == "__main__":
    run(main, __doc__)
