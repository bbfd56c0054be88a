"""Validate params.yaml and write, for each later stage, the digests of the code it runs."""

from metabench.backbones import BACKBONES
from metabench.cells import pretrain_settings
from metabench.checks import check_names
from metabench.config import TRACKS, Config
from metabench.data import DATASETS
from metabench.embeddings import encoders_of
from metabench.files import write_json
from metabench.layout import Layout
from metabench.methods import METHODS
from metabench.provenance import code_of
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write ``data/plan/**.json``; DVC reruns a stage when its own file changes, and only then."""
    check_names(config)
    plan = layout.root / "data/plan"
    for name in config.datasets:
        write_json(plan / "datasets" / f"{name}.json", code_of(DATASETS.module(name)))
    write_json(plan / "episodes.json", code_of("metabench.sampling"))
    encoders = {e for label in TRACKS for e in encoders_of(getattr(config, label))}
    modules = (BACKBONES.module(encoder) for encoder in encoders)
    write_json(plan / "embed.json", code_of("metabench.embeddings", *modules))
    write_json(plan / "evaluate.json", code_of("metabench.evaluation.run"))
    reports = ("metabench.reports.leaderboard", "metabench.reports.open_set")
    write_json(plan / "aggregate.json", code_of(*reports))
    for label in TRACKS:
        track = getattr(config, label)
        for source in track.sources:
            own = BACKBONES.module(track.backbone.name)
            pretrained = code_of("metabench.pretraining", "metabench.training", own)
            settings = pretrain_settings(config, source).model_dump(mode="json")
            facts = {"code": pretrained, "settings": settings}
            write_json(plan / "pretrain" / f"{source}.json", facts)
            for name in track.methods:
                module = METHODS.module(track.variant(name).method)
                backbone = BACKBONES.module(track.backbone_of(name).name)
                used = (module, "metabench.training", backbone)
                write_json(plan / "train" / source / f"{name}.json", code_of(*used))


if __name__ == "__main__":
    run(main, __doc__)
