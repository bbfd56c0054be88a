"""Embed the text datasets with every frozen encoder that a track uses, once for all cells."""

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.executor import Job, run_cells
from metabench.pipeline.layout import Layout
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write ``data/embeddings/<dataset>/<encoder>.npy``; what is there and right is kept."""
    folder = layout.root / "data/embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    tracks = [track for track in (config.text, config.relations) if track.sources]
    if not tracks:
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
        for track in tracks
        for encoder in encoders_of(track)
        for name in (*track.datasets, *track.outside.values())
    ]
    jobs.sort(key=lambda job: -(job.arguments["processed"] / "x.npy").stat().st_size)
    with lock(folder):
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
