"""Embed the datasets with every frozen encoder that a learner reads, once for all cells."""

from metabench.config import Config
from metabench.files import lock, write_json
from metabench.pipeline import estimates
from metabench.pipeline.embeddings import encoders_of
from metabench.pipeline.engine import Job
from metabench.pipeline.executor import run_cells
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from metabench.pipeline.splits import data_cells, in_split
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``data/embeddings/<dataset>/<file>.npy``; what is finished is kept."""
    cell = "metabench.pipeline.embeddings:embed_dataset"
    folder = layout.root / "data/embeddings"
    encoders = {
        file
        for task_type in WHOLE.task_types(config)
        for file in encoders_of(task_type, WHOLE.methods_of(task_type))
    }
    with lock(folder):
        write_json(folder / "encoders.json", sorted(encoders))  # DVC warns of an empty folder
        with Finished(config, layout) as finished:
            jobs = [
                Job(
                    f"embed {place.processed(name).name}/{file}",
                    cell,
                    {
                        "processed": place.processed(name),
                        "folder": place.embeddings(name),
                        "frozen": frozen,
                    },
                    finished.at(None, place.split).embeddings(name, frozen),
                    estimates.of_embedding(place.processed(name)),
                )
                for task_type in part.task_types(config)
                for file, frozen in encoders_of(task_type, part.methods_of(task_type)).items()
                for name, split in data_cells(config, task_type.used)
                for place in [in_split(config, layout, split)]
            ]
        run_cells(jobs, config.compute)


if __name__ == "__main__":
    run(main, __doc__)
