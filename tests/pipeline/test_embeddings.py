"""Vectors of frozen encoders: computed once, by name and settings, and read by every cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metabench import FewShotClassifier
from metabench.backbones.frozen import Encoder, Frozen
from metabench.config import BackboneChoice, Config
from metabench.files import read_json
from metabench.pipeline.cell_fingerprints import encoder_fingerprint
from metabench.pipeline.cells import train_cell
from metabench.pipeline.embeddings import embed_dataset, encoders_of, vectors_path
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.executor import Job
from metabench.pipeline.layout import Layout
from metabench.pipeline.planning import outside_files
from metabench.pipeline.results import read_result
from stages import embed as stage
from tests.toy import TOY_NAME, params, prepared, toy_dataset

NAME = "tests.pipeline.test_embeddings:Halves"


class Halves(Frozen):
    """Means of an image's parts: a frozen encoder without weights to speak of.

    Args:
        parts: so many.
        weights: file of them.
    """

    kinds = frozenset({"image"})
    batch = 50
    built = 0

    def __init__(self, input_shape: tuple[int, ...], parts: int = 4, weights: str = ""):
        super().__init__(input_shape)
        self.parts = parts

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path | None:
        return Path(settings["weights"]) if settings.get("weights") else None

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        assert len(shape) == 3
        Halves.built += 1
        return lambda x: torch.stack([p.mean(1) for p in x.flatten(1).chunk(self.parts, 1)], dim=1)


def chosen(**settings: Any) -> BackboneChoice:
    return BackboneChoice(name=NAME, settings=settings)


def config(**settings: Any) -> Config:
    values = params(settings={})
    values["classification"] |= {
        "methods": ["frozen"],
        "variants": {"frozen": {"method": "simpleshot", "backbone": chosen(**settings)}},
    }
    return Config.model_validate(values)


def test_vectors_are_those_of_all_examples_and_progress_is_told(tmp_path: Path) -> None:
    dataset, told = toy_dataset(), []
    dataset.save(tmp_path / "processed")
    embed_dataset(tmp_path / "processed", tmp_path, chosen(), lambda *said: told.append(said))
    found = np.load(vectors_path(tmp_path, chosen()))
    expected = dataset.x.reshape(len(dataset.x), 4, -1).mean(2) / 255
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert [share * 192 for share, _ in told] == [0, 50, 100, 150]
    assert told[1][1] == "50 of 192 examples"
    embed_dataset(tmp_path / "processed", tmp_path, chosen(), lambda *said: told.append(said))
    assert len(told) == 4, "what is there is not computed again"


def test_each_choice_of_settings_has_a_file_and_the_default_has_one() -> None:
    files = [vectors_path(Path(), chosen(**s)) for s in ({}, {"parts": 4}, {"parts": 2})]
    name = "tests.pipeline.test_embeddings.Halves"
    assert files[0] == files[1] == Path(f"{name}.npy")
    assert files[2] != files[0] and files[2].name.startswith(f"{name}-")
    twice = config(parts=2).classification
    assert list(encoders_of(twice).values()) == [chosen(parts=2)]
    assert list(encoders_of(twice, [])) == []


def test_a_key_holds_the_content_of_the_weights(tmp_path: Path) -> None:
    found = []
    for content in ("one", "two", "one"):
        file = tmp_path / content
        file.write_text(content)
        found.append(encoder_fingerprint(chosen(weights=str(file)))["external"])
    assert found[0] == found[2] != found[1]
    assert outside_files(config(weights=str(file))) == [file]
    assert "external" not in encoder_fingerprint(chosen())


def test_the_stage_embeds_a_dataset_by_every_choice_once(tmp_path: Path, monkeypatch) -> None:
    ran: list[str] = []

    def run_here(jobs: list[Job], compute: object) -> None:
        for job in jobs:
            if not job.finished:
                ran.append(job.name)
                embed_dataset(**job.arguments)

    monkeypatch.setattr(stage, "run_cells", run_here)
    made, layout = config(parts=2), Layout(tmp_path)
    prepared(tmp_path, made)
    for _ in range(2):
        stage.main(made, layout)
    file = vectors_path(layout.embeddings(TOY_NAME), chosen(parts=2))
    assert len(ran) == 1 and ran[0].endswith(f"/{file.stem}")
    assert np.load(file).shape == (192, 2)
    assert read_json(tmp_path / "data/embeddings/encoders.json") == [file.stem]


def test_a_learner_on_vectors_is_evaluated_and_answers_images(tmp_path: Path) -> None:
    made = config(parts=2)
    layout = prepared(tmp_path, made)
    embed_dataset(layout.processed(TOY_NAME), layout.embeddings(TOY_NAME), chosen(parts=2))
    train_cell(lambda *a: None, made, layout, TOY_NAME, "frozen", 0)
    evaluate_cell(lambda *a: None, made, layout, TOY_NAME, "frozen", 0)
    rows = read_result(layout.result(TOY_NAME, "frozen", 0))
    assert set(rows["partition"]) == {"val", "test"} and rows["value"].between(0, 1).all()
    folder = layout.learner(TOY_NAME, "frozen", 0)
    classifier = FewShotClassifier.from_run(folder, device="cpu", trust=True)
    images, built = toy_dataset().x[:24], Halves.built
    answer = classifier.fit(images[::4], [0] * 3 + [1] * 3).predict(images)
    assert answer.shape == (24,)
    assert Halves.built == built, "the encoder is built once a process"
    vectors = classifier._examples(images, reset=True)
    np.testing.assert_allclose(vectors, images.reshape(24, 2, -1).mean(2) / 255, rtol=1e-5)
    assert classifier.cell_["input_shape"] == [2]
    assert classifier.cell_["example_shape"] == [1, 16, 16]
