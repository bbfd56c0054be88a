"""Embed the text datasets with every frozen encoder that a task type uses, once for all cells."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write ``data/embeddings/<dataset>/<encoder>.npy``; what is there and right is kept."""
    folder = layout.root / "data/embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    task_types = [task_type for task_type in (config.text, config.relations) if task_type.sources]
    if not task_types:
        return
    from metabench.pipeline.embeddings import encoders_of

    jobs = [
        Job(
            f"embed {name}/{encoder}",
            "metabench.pipeline.embeddings:embed_dataset",
            {
                "processed": layout.processed(name),
                "folder": layout.embeddings(name),
                "encoder": encoder,
            },
        )
        for task_type in task_types
        for encoder in encoders_of(task_type)
        for name in (*task_type.datasets, *task_type.out_of_scope.values())
    ]
    jobs.sort(key=lambda job: -(job.arguments["processed"] / "x.npy").stat().st_size)
    with lock(folder):
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
