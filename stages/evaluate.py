"""Evaluate one method of one source on every target and setting, for every seed."""

from metabench.config import Config
from metabench.executor import Job, run_cells, warm_up
from metabench.files import lock
from metabench.layout import Layout
from stages import run


def main(config: Config, layout: Layout, source: str, method: str) -> None:
    """Write ``results/<source>/<method>/<seed>.parquet``; finished cells are reused."""
    cell, seeds = "metabench.evaluation.cell:evaluate_cell", config.seeds_of(source, method)
    shared = {"config": config, "layout": layout} | {"source": source, "method": method}
    jobs = [Job(f"evaluate {source}/{method}/{s}", cell, shared | {"seed": s}) for s in seeds]
    warm_up(jobs)
    from metabench.results import track_cell
    from metabench.tracking import import_mlflow

    import_mlflow()  # takes as long as what the workers import meanwhile
    with lock(layout.result(source, method, 0).parent):
        run_cells(jobs, config.compute)
        for seed in seeds:
            track_cell(config, layout, source, method, seed)


if __name__ == "__main__":
    run(main, __doc__, "source", "method")
