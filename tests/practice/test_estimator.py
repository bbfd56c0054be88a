"""``metabench.FewShotClassifier``: scikit-learn's own checks, images, any labels."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import metabench
from metabench.backbones import build_backbone
from metabench.data.formats import to_input
from metabench.data.images import as_batch, decode
from metabench.episodes import Episodes
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.base import Task
from metabench.pipeline.cells import train_cell
from metabench.pipeline.opening import load_learner
from metabench.practice.estimator import FewShotClassifier
from tests.toy import PARTITIONS, TOY_NAME, prepared, toy_config, toy_dataset


class OnVectors(FewShotClassifier):
    """A linear probe on random features of vectors as wide as the data of the check."""

    def _examples(self, X, reset):
        if reset and len(shape := getattr(X, "shape", np.asarray(X).shape)) == 2 and shape[1]:
            width = shape[1]
            torch.manual_seed(0)
            backbone = build_backbone("mlp", (width,), widths=[64])
            cls = METHODS.load("linear_probe")
            self.learner_ = cls(backbone, Task("vector", 5, 10), cls.Settings()).eval()
            self.cell_ = {"method": "linear_probe", "input_shape": [width]}
        return super()._examples(X, reset)

    def _open(self) -> None:
        if not hasattr(self, "cell_"):
            self._examples(np.zeros((1, 1)), reset=True)


@parametrize_with_checks([OnVectors("none")])
def test_scikit_learn_checks_hold_on_vectors(estimator, check) -> None:
    check(estimator)


def test_settings_by_shots_are_those_of_the_smallest_class() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(12, 4)), np.repeat([0, 1, 2], [2, 4, 6])
    found = []
    for by_shots, c in (({2: {"c": 0.1}, 6: {"c": 100.0}}, 10.0), ({}, 0.1)):
        classifier = OnVectors("none")
        classifier._examples(x, reset=True)
        cls = type(classifier.learner_)
        classifier.learner_.settings = cls.Settings(c=c, by_shots=by_shots)
        classifier._examples = lambda X, reset: torch.from_numpy(np.float32(X))
        found.append(classifier.fit(x, y).predict_proba(x))
    assert np.array_equal(*found)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    config = toy_config()
    layout = prepared(tmp_path_factory.mktemp("project"), config)
    train_cell(lambda share, text: None, config, layout, TOY_NAME, "protonet", 0)
    return layout.learner(TOY_NAME, "protonet", 0)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Images of the five test classes, and which class each is of."""
    toy = toy_dataset()
    rows = np.flatnonzero([PARTITIONS[label] == "test" for label in toy.y])
    return toy.x[rows], toy.y[rows]


def test_predictions_are_those_of_the_learner_on_the_same_episode(run, data) -> None:
    x, y = data
    support, query = np.arange(0, 60, 12), np.arange(5, 60, 12)
    found = FewShotClassifier.from_run(run).fit(x[support], y[support]).predict_proba(x[query])
    learner, _ = load_learner(run)
    inputs = [to_input(torch.from_numpy(np.array(x[rows])))[None] for rows in (support, query)]
    labels = torch.arange(5)[None]
    with torch.no_grad():
        logits = learner.predict(Episodes(inputs[0], labels, inputs[1], labels, 5))[0]
    np.testing.assert_allclose(found, logits.double().softmax(-1), rtol=1e-6)


@pytest.mark.parametrize("kind", [int, str, float, bool], ids=lambda kind: kind.__name__)
def test_labels_of_any_type_with_unequal_shots_come_back_as_they_went_in(run, data, kind) -> None:
    x, y = data
    if kind is bool:
        x, y = x[:24], y[:24] == y[0]
    labels = np.array([kind(label) for label in y])
    shown = np.r_[0:1, 12:16, 24:27, 36:38, 48:49] if kind is not bool else np.r_[0:1, 12:16]
    fitted = FewShotClassifier.from_run(run).fit(x[shown], labels[shown])
    predicted = fitted.predict(x)
    assert predicted.dtype == labels.dtype and (predicted == labels).mean() > 0.8
    assert fitted.score(x, labels) > 0.8


def test_images_may_have_any_size_and_layout(run, data) -> None:
    x, y = data
    fitted = FewShotClassifier.from_run(run).fit(x[::4], y[::4])
    want = fitted.predict_proba(x)
    for same in (x[:, 0], np.moveaxis(x, 1, -1), [Image.fromarray(i[0]) for i in x]):
        np.testing.assert_array_equal(fitted.predict_proba(same), want)
    larger = [Image.fromarray(i[0]).resize((40 + n, 50)).convert("RGB") for n, i in enumerate(x)]
    assert fitted.fit(larger[::4], y[::4]).score(larger, y) > 0.6  # chance: 0.2
    assert fitted.predict_proba(x[:0]).shape == (0, 5)


def test_a_clone_a_pickle_and_cross_validation_agree_with_the_original(run, data, tmp_path) -> None:
    x, y = data
    moved = shutil.copytree(run, tmp_path / "moved")
    fitted = FewShotClassifier.from_run(moved).fit(x[::4], y[::4])
    copy = clone(fitted)
    with pytest.raises(NotFittedError):
        copy.predict(x)
    np.testing.assert_array_equal(
        copy.fit(x[::4], y[::4]).predict_proba(x), fitted.predict_proba(x)
    )
    content = pickle.dumps(fitted)
    shutil.rmtree(moved)
    restored = pickle.loads(content)
    np.testing.assert_array_equal(restored.predict_proba(x), fitted.predict_proba(x))
    assert restored.fit(x[1::4], y[1::4]).score(x, y) > 0.9  # needs no file any more
    assert cross_val_score(FewShotClassifier(run), x, y, cv=3).mean() > 0.9


@pytest.mark.case("22")
def test_files_and_pil_images_of_any_mode_are_read_as_bench_reads_them(run, data, tmp_path) -> None:
    x, y = data
    grey = [Image.fromarray(image[0]) for image in x]
    want = FewShotClassifier.from_run(run).fit(grey[::4], y[::4]).predict_proba(grey)
    paths = [tmp_path / f"{number}.png" for number in range(len(grey))]
    for image, path in zip(grey, paths, strict=True):
        image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    files = [path.read_bytes() for path in paths]
    clear = [image.convert("RGBA") for image in grey]
    deep = [np.asarray(image) * np.uint16(257) for image in grey]
    floats, names = list(x / 255), [str(path) for path in paths]
    with warnings.catch_warnings(action="error"):  # nothing is lost
        for given in (grey, paths, names, files, clear, deep, floats):
            found = FewShotClassifier.from_run(run).fit(given[::4], y[::4]).predict_proba(given)
            np.testing.assert_allclose(found, want, rtol=1e-5)


def test_a_warning_says_what_of_images_is_lost(run, data) -> None:
    x, y = data
    given = [Image.fromarray(image[0]).convert("RGBA") for image in x[::4]]
    given[0].putalpha(9)
    given[1].putpixel((0, 0), (255, 0, 0, 255))
    new = FewShotClassifier.from_run(run)
    with pytest.warns(UserWarning) as found:
        new.fit(given, y[::4])
    assert [str(one.message) for one in found] == [
        "1 of 15 images are transparent: put on white",
        "1 of 15 images are coloured: made grey, which is all that the learner takes",
    ]
    with pytest.raises(ValueError, match=r"image 0: .* where white is 1 in other images"):
        new.fit(x[::4] / 255, y[::4]).predict(x * 1.0)


def test_wrong_examples_and_labels_are_named(run, data) -> None:
    x, y = data
    new = FewShotClassifier.from_run(run)
    with pytest.raises(ValueError, match=r"image 0: its values go from .* they must go from 0 to"):
        new.fit(x[::4] - 99.5, y[::4])
    with pytest.raises(ValueError, match=r"must have shape .* this one has \[256\]"):
        new.fit(x[::4].reshape(15, -1), y[::4])
    with pytest.raises(ValueError, match="at least 2 classes, the labels hold 1 class"):
        new.fit(x[:3], y[:3])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        new.fit(x[:3], y[:4])


def test_a_run_that_is_none_is_named(tmp_path, run) -> None:
    with pytest.raises(InputError, match="neither the folder of a trained learner"):
        FewShotClassifier.from_run(tmp_path)
    cut = shutil.copytree(run, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes(b"123")
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        FewShotClassifier.from_run(cut)


@pytest.fixture
def texts() -> FewShotClassifier:
    """TF-IDF, which needs no training."""
    model = FewShotClassifier("none")
    cls = METHODS.load("tfidf")
    backbone = build_backbone("text_cnn", (64,), width=2, size=2, pieces=8)
    model.learner_ = cls(backbone, Task("text", 2, 0), cls.Settings()).eval()
    model.cell_ = {"method": "tfidf", "input_shape": [64], "backbone": {"name": "text_cnn"}}
    model._opened = "none"
    return model


@pytest.mark.case("06")
def test_texts_are_read_to_the_limit_and_what_is_not_read_is_warned_of(texts, recwarn) -> None:
    late, refund = ("my order is the following " * 40 + what for what in ("late", "refund"))
    texts.fit([late, refund], ["late", "refund"])
    assert texts.predict(["late", "refund"]).tolist() == ["late", "refund"] and not recwarn
    texts.cell_["pieces"] = 64
    with pytest.warns(UserWarning, match="2 of 2 texts have more than 64 word pieces"):
        texts.fit([late, refund], ["late", "refund"])
    with pytest.warns(UserWarning, match="1 of 2 texts hold words that the English vocabulary"):
        texts.predict(["late", "🙂"])
    with pytest.raises(ValueError, match="half a surrogate pair"):
        texts.predict(["\ud83d"])


def test_image_files_of_many_modes_become_arrays(tmp_path) -> None:
    grey = np.arange(300, dtype=np.uint8).reshape(15, 20)
    modes = {"1": (1, 15, 20), "L": (1, 15, 20), "P": (3, 15, 20), "RGB": (3, 15, 20)}
    modes |= {"RGBA": (3, 15, 20), "I;16": (1, 15, 20), "LA": (3, 15, 20)}
    for mode, shape in modes.items():
        path = tmp_path / f"{mode.replace(';', '')}.png"
        image = Image.fromarray(grey.astype(np.uint16) << 8) if mode == "I;16" else None
        (image or Image.fromarray(grey).convert(mode)).save(path)
        assert decode(path).shape == shape and decode(path).dtype == np.uint8
    np.testing.assert_array_equal(decode(tmp_path / "I16.png")[0], grey)
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(clear)
    assert (decode(clear) == 255).all()
    assert as_batch([decode(clear)], (1, 28, 28)).x.shape == (1, 1, 28, 28)


def test_the_package_imports_without_torch() -> None:
    call = "import sys, metabench; assert 'torch' not in sys.modules; metabench.FewShotClassifier"
    assert subprocess.run([sys.executable, "-c", call], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metabench.nothing
