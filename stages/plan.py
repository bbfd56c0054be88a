"""Validate params.yaml; write what each later stage depends on, params and code."""

from typing import Any

from metabench.backbones import BACKBONES
from metabench.cells import pretrain_settings
from metabench.checks import check_names
from metabench.config import TRACKS, Config, read
from metabench.data import DATASETS
from metabench.embeddings import encoders_of
from metabench.evaluation.cell import OPEN_SET
from metabench.files import write_json
from metabench.layout import Layout
from metabench.methods import METHODS
from metabench.provenance import code_of
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write ``data/plan/**.json``; DVC reruns a stage when its own file changes, and only then."""
    check_names(config, layout.root)
    reports = ("metabench.reports.leaderboard", "metabench.reports.open_set")
    facts: dict[str, Any] = {"aggregate": {"code": code_of(*reports)}}
    for name in config.datasets:
        facts[f"datasets/{name}"] = {"code": code_of(DATASETS.module(name))}
        facts[f"episodes/{name}"] = episodes_facts(config, name)
    encoders = {label: encoders_of(getattr(config, label)) for label in TRACKS}
    modules = (BACKBONES.module(e) for found in encoders.values() for e in found)
    facts["embed"] = {
        "code": code_of("metabench.embeddings", *modules),
        "tracks": {
            label: (found, getattr(config, label).datasets, getattr(config, label).outside)
            for label, found in encoders.items()
            if found
        },
    }
    for label in TRACKS:
        for source in getattr(config, label).sources:
            facts |= learner_facts(config, source)
    for name, found in facts.items():
        write_json(layout.root / "data/plan" / f"{name}.json", found)


def episodes_facts(config: Config, name: str) -> dict[str, Any]:
    """What the frozen episodes of a dataset depend on, its examples apart."""
    track = config.track_of(name)
    found: dict[str, Any] = {"code": code_of("metabench.sampling")}
    if name in track.datasets:
        found["evaluation"] = track.evaluation.model_dump(mode="json", exclude={"steps"})
    if name in track.sources:
        found["training"] = track.training.model_dump(mode="json")
        found["val_episodes"] = track.budget.val_episodes
    return found


def learner_facts(config: Config, source: str) -> dict[str, Any]:
    """What the stages of ``source`` depend on, the output of other stages apart."""
    track = config.track_of(source)
    shared = {
        "budget": track.budget.model_dump(mode="json"),
        "training": track.training.model_dump(mode="json"),
    }
    own, training = track.backbone, "metabench.training"
    code = code_of("metabench.pretraining", training, BACKBONES.module(own.name))
    learners: dict[str, Any] = {}
    facts = {
        f"pretrain/{source}": shared
        | {
            "code": code,
            "seeds": config.seeds,
            "backbone": own.model_dump(mode="json"),
            "settings": pretrain_settings(config, source).model_dump(mode="json"),
        }
    }
    for name in track.methods:
        variant, backbone = track.variant(name), track.backbone_of(name)
        module = METHODS.module(variant.method)
        code = code_of(module, training, BACKBONES.module(backbone.name))
        learners[name] = {
            "seeds": config.seeds_of(source, name),
            "method": variant.method,
            "backbone": backbone.model_dump(mode="json"),
        }
        training_facts = {"code": code, "settings": config.settings_of(source, name)}
        facts[f"train/{source}/{name}"] = shared | learners[name] | training_facts
        learners[name]["skip"] = variant.skip
    facts[f"evaluate/{source}"] = {
        "code": code_of("metabench.evaluation.run", *([OPEN_SET] if track.outside else [])),
        "targets": track.datasets,
        "evaluation": track.evaluation.model_dump(mode="json"),
        "outside": track.outside,
        "learners": learners,
    }
    return facts


if __name__ == "__main__":
    run(main, __doc__, load=read)
