"""Evaluate every learner on every target and setting of its task type."""

from concurrent.futures import ThreadPoolExecutor

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from metabench.tracking.runs import track_cell
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``results/<source>/<method>/<seed>.parquet``; what is finished is kept."""
    cell = "metabench.pipeline.evaluating:evaluate_cell"
    shared = {"config": config, "layout": layout}
    with lock(layout.root / "results"), ThreadPoolExecutor(1) as tracker:
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
        tracked = [tracker.submit(track_cell, **job.arguments) for job in jobs if job.finished]
        run_cells(
            jobs,
            config.compute,
            lambda job: tracked.append(tracker.submit(track_cell, **job.arguments)),
        )
        for answer in tracked:
            answer.result()


if __name__ == "__main__":
    run(main, __doc__)
