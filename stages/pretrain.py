"""Pretrain the backbones that learners start from; learners that ask for the same share one."""

from metabench.config import Config
from metabench.files import lock, write_json
from metabench.pipeline.executor import run_cells
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part
from stages import run


def main(config: Config, layout: Layout, part: Part = WHOLE) -> None:
    """Write ``backbones/<source>/<level>/<pretraining>/<seed>/``; what is finished is kept."""
    folder = layout.root / "backbones"
    with lock(folder):
        asked = ["/".join(map(str, cell)) for cell in WHOLE.backbones(config)]
        write_json(folder / "asked.json", asked)  # DVC warns of an empty folder
        run_cells(jobs_of("pretrain", part.backbones(config), config, layout), config.compute)


if __name__ == "__main__":
    run(main, __doc__)
