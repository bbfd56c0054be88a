"""Embed the text datasets with every frozen encoder that a track uses, once for all cells."""

from metabench.config import Config
from metabench.files import lock
from metabench.layout import Layout
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write ``data/embeddings/<dataset>/<encoder>.npy``; what is there and right is kept."""
    folder = layout.root / "data/embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    tracks = [track for track in (config.text, config.relations) if track.sources]
    if not tracks:
        return
    from metabench.embeddings import embed_dataset, encoders_of
    from metabench.runtime import configure

    configure(config.compute.workers * config.compute.threads)
    with lock(folder):
        for track in tracks:
            for encoder in encoders_of(track):
                for name in (*track.datasets, *track.outside.values()):
                    embed_dataset(layout.processed(name), layout.embeddings(name), encoder)


if __name__ == "__main__":
    run(main, __doc__)
