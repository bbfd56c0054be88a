"""The stages from data to results: which cells each computes, and which it finds finished."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from metabench.cli import app
from metabench.config import Config, Level
from metabench.files import InputError
from metabench.pipeline.engine import Job
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE, Part, part_of
from metabench.tracking.tracker import Tracker
from tests.toy import TOY_NAME, params

STAGES = ("download", "episodes", "embed", "pretrain", "train", "evaluate")
METHODS: dict[str, dict[str, Any]] = {
    "protonet": {"ways": 5, "queries": 3},
    "linear_probe": {},
    "nearest_neighbour": {},
}


def values(**settings: dict[str, Any]) -> dict[str, Any]:
    found = params(settings={TOY_NAME: METHODS | settings})
    found["classification"]["methods"] = list(METHODS)
    return found


@pytest.fixture
def ran(tmp_path, monkeypatch) -> list[str]:
    """The cells that are computed, in order: in this process, and nothing is tracked."""
    found: list[str] = []

    def run_here(
        jobs: Sequence[Job], compute: object, finished: Callable[[Job], Any] = lambda job: None
    ) -> None:
        for job in (job for job in jobs if not job.finished):
            module, name = job.function.split(":")
            function = getattr(importlib.import_module(module), name)
            function(report=lambda share, text: None, **job.arguments)
            found.append(job.name.replace(f"{TOY_NAME}/", "").replace(TOY_NAME, "data"))
            finished(job)

    for stage in STAGES:
        monkeypatch.setattr(importlib.import_module(f"stages.{stage}"), "run_cells", run_here)
    monkeypatch.setattr(Tracker, "__enter__", lambda self: SimpleNamespace(track=lambda *a: None))
    monkeypatch.setattr(Tracker, "__exit__", lambda *a: None)
    monkeypatch.chdir(tmp_path)
    return found


def go(config: Config, part: Part = WHOLE) -> None:
    for stage in STAGES:
        importlib.import_module(f"stages.{stage}").main(config, Layout(), part)


PRETRAINED = "pretrain recipe0-share1/400-examples/0"
FIRST = ["download data", "freeze data", PRETRAINED]
PROTONET, PROBE = "protonet/400-examples/0", "linear_probe/400-examples/0"
PIXELS = "nearest_neighbour/0"


def test_only_what_an_edit_touches_is_computed_again(ran) -> None:
    config = Config.model_validate(values())
    go(config)
    cells = (PROTONET, PROBE, PIXELS)
    assert ran == [*FIRST, *(f"{w} {c}" for w in ("train", "evaluate") for c in cells)]

    ran.clear()
    go(config)
    assert ran == []

    go(Config.model_validate(values(protonet={"ways": 5, "queries": 3, "lr": 0.01})))
    assert ran == [f"train {PROTONET}", f"evaluate {PROTONET}"]

    ran.clear()
    go(config)  # a cell's place holds one learner: that of the last params
    assert ran == [f"train {PROTONET}", f"evaluate {PROTONET}"]

    ran.clear()
    go(Config.model_validate(values(backbone={"lr": 0.01})))
    assert ran == [PRETRAINED, f"train {PROBE}", f"evaluate {PROBE}"]


DAMAGED = {
    "data/processed/*/x.npy": "download data",
    "data/episodes/*/test/5w1s.npz": "freeze data",
    "backbones/*/*/*/0/model.safetensors": PRETRAINED,
    "runs/*/protonet/*/0/model.safetensors": f"train {PROTONET}",
    "runs/*/linear_probe/*/0/cell.json": f"train {PROBE}",
    "results/*/protonet/*/0.parquet": f"evaluate {PROTONET}",
}


def test_a_damaged_file_makes_its_own_cell_unfinished_and_no_other(ran) -> None:
    config = Config.model_validate(values())
    part = part_of(config, methods=["protonet", "linear_probe"])
    go(config, part)
    for pattern, cell in DAMAGED.items():
        ran.clear()
        (path,) = Path().glob(pattern)
        path.write_bytes(path.read_bytes()[:-30])
        go(config, part)
        assert ran == [cell]
    ran.clear()
    go(config, part)
    assert ran == []


def test_a_part_is_computed_from_the_command_line_and_taken_over_by_the_whole(ran) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(values()))
    call = ["run", "--method", "protonet", "--source", TOY_NAME]
    shown = CliRunner().invoke(app, call, env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "protonet" in shown.output and "5-way 1-shot" in shown.output
    assert ran == [*FIRST[:2], f"train {PROTONET}", f"evaluate {PROTONET}"]  # and no backbone
    ran.clear()
    changed = CliRunner().invoke(app, [*call, "--set", f'settings."{TOY_NAME}".protonet.lr=0.01'])
    assert changed.exit_code == 0, changed.output
    assert ran == [f"train {PROTONET}", f"evaluate {PROTONET}"]
    CliRunner().invoke(app, call)
    ran.clear()
    go(Config.model_validate(values()))
    assert ran == [FIRST[2], *(f"{w} {c}" for w in ("train", "evaluate") for c in (PROBE, PIXELS))]


@pytest.mark.parametrize(
    ("methods", "sources", "message"),
    [
        (["protnet"], [], r"has no method 'protnet'\. Did you mean protonet"),
        ([], ["toys"], r"has no source 'toys'"),
    ],
)
def test_a_part_of_unknown_names_is_refused_with_the_nearest(methods, sources, message) -> None:
    with pytest.raises(InputError, match=message):
        part_of(Config.model_validate(values()), methods, sources)


def test_a_part_with_no_cell_is_refused() -> None:
    found = values()
    found["classification"]["variants"] = {"near": {"method": "knn", "sources": [TOY_NAME]}}
    found["classification"]["methods"] += ["near"]
    found["classification"]["sources"] += ["other"]
    config = Config.model_validate(found)
    assert list(part_of(config, ["near"]).learners(config)) == [(TOY_NAME, "near", Level(400), 0)]
    with pytest.raises(InputError, match="no learner of near is trained on other"):
        part_of(config, ["near"], ["other"])


def test_what_is_logged_is_remembered_for_as_long_as_the_experiment_is_the_same(
    tmp_path, monkeypatch
) -> None:
    asked: list[int] = []
    store = SimpleNamespace(experiment_id="1", creation_time=5)
    monkeypatch.setattr("metabench.tracking.tracker.look_up", lambda uri, name: store)
    monkeypatch.setattr(
        "metabench.tracking.tracker.track_cell", lambda *cell: (asked.append(cell[-1]), "run")[1]
    )
    layout = Layout(tmp_path)
    config = Config.model_validate(values())

    def log(*seeds: int) -> list[int]:
        asked.clear()
        with Tracker(config, layout) as tracker:
            for seed in seeds:
                path = layout.result(TOY_NAME, "protonet", seed).with_suffix(".json")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f'{{"key": "key{seed}"}}')
                tracker.track(layout, TOY_NAME, "protonet", seed)
        return list(asked)

    assert log(0, 1) == [0, 1]
    assert log(0, 1, 2) == [2]
    store.creation_time = 6  # mlflow.db was deleted, and made again
    assert log(0, 2) == [0, 2]
