"""Evaluate every method of one source on every target and setting, for every seed."""

from concurrent.futures import ThreadPoolExecutor

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells, warm_up
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout, source: str) -> None:
    """Write ``results/<source>/<method>/<seed>.parquet``; finished cells are reused."""
    cell, shared = (
        "metabench.pipeline.evaluating:evaluate_cell",
        {"config": config, "layout": layout},
    )
    jobs = [
        Job(
            f"evaluate {source}/{method}/{seed}",
            cell,
            shared | {"source": source, "method": method, "seed": seed},
        )
        for method in config.task_type_of(source).methods
        for seed in config.seeds_of(source, method)
    ]
    warm_up(jobs)
    from metabench.tracking.runs import track_cell
    from metabench.tracking.store import import_mlflow

    import_mlflow()  # takes as long as what the workers import meanwhile
    with lock(layout.root / "results" / source), ThreadPoolExecutor(1) as tracker:
        tracked = []
        run_cells(
            jobs,
            config.compute,
            lambda job: tracked.append(tracker.submit(track_cell, **job.arguments)),
        )
        for answer in tracked:
            answer.result()


if __name__ == "__main__":
    run(main, __doc__, "source")
