"""Embed the text datasets with every frozen encoder that a track uses, once for all cells."""

from metabench.cells import Layout
from metabench.config import TRACKS, Config
from metabench.embeddings import embed_dataset, encoders_of
from metabench.files import lock
from metabench.runtime import configure
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write ``data/embeddings/<dataset>/<encoder>.npy``; what is there and right is kept."""
    configure(config.compute.workers * config.compute.threads)
    with lock(layout.root / "data/embeddings"):
        for track in (getattr(config, label) for label in TRACKS):
            for encoder in encoders_of(track):
                for name in (*track.datasets, *track.outside.values()):
                    embed_dataset(layout.processed(name), layout.embeddings(name), encoder)


if __name__ == "__main__":
    run(main, __doc__)
