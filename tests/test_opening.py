"""Learners from elsewhere: what a file says is checked before it is built, run or believed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from metabench import FewShotClassifier
from metabench.files import InputError
from tests.learners import rewrite, untrained


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("honest") / "run")


@pytest.fixture
def run(honest, tmp_path, monkeypatch) -> Path:
    """A copy to spoil, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return shutil.copytree(honest, tmp_path / "run")


def answers(run: Path, **options) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16), np.uint8)
    fitted = FewShotClassifier.from_run(run, **options).fit(images[:4], ["a", "a", "b", "b"])
    return fitted.predict_proba(images)


@pytest.mark.case("31")
@pytest.mark.case("32")
@pytest.mark.case("49")
def test_an_untouched_learner_opens_and_predicts(run) -> None:
    assert answers(run).shape == (6, 2)


@pytest.mark.case("31")
def test_a_backbone_of_cell_json_that_is_none_is_never_called(run) -> None:
    command = f"import pathlib; pathlib.Path({str(run / 'ran')!r}).touch()"
    backbone = {"name": "subprocess:check_call", "settings": {}}
    rewrite(run, backbone=backbone, input_shape=[sys.executable, "-c", command])
    for trust in (False, True):
        with pytest.raises(InputError, match=r"cell\.json"):
            FewShotClassifier.from_run(run, trust=trust)
    rewrite(run, input_shape=[1, 16, 16])
    with pytest.raises(InputError, match=r"backbone 'subprocess:check_call': .* is no subclass"):
        FewShotClassifier.from_run(run, trust=True)
    assert not (run / "ran").exists()


@pytest.mark.case("32")
def test_code_beside_cell_json_is_imported_only_if_the_caller_says_so(run) -> None:
    trap = "import pathlib\npathlib.Path('ran').touch()\n"
    (run / "payload.py").write_text(
        f"{trap}from metabench.methods.protonet import ProtoNet\nclass Mine(ProtoNet): pass\n"
    )
    want = answers(run)
    rewrite(run, method="run.payload:Mine")
    for trust in (False, (), ["run.payload:Other"]):
        with pytest.raises(InputError, match=r"cell\.json: .* would import run\.payload"):
            FewShotClassifier.from_run(run, trust=trust)
    assert not Path("ran").exists()
    np.testing.assert_array_equal(answers(run, trust=["run.payload:Mine"]), want)
    np.testing.assert_array_equal(answers(run, trust=True), want)
    assert Path("ran").exists()


@pytest.mark.case("49")
def test_weights_that_are_not_those_of_cell_json_are_refused(run, tmp_path) -> None:
    path = run / "model.safetensors"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[int(len(whole) * 0.8)] ^= 0x40
    other = untrained(tmp_path / "other") / "model.safetensors"
    for content in (bytes(flipped), other.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.safetensors: damaged, or of another learner"):
            FewShotClassifier.from_run(run)
    path.write_bytes(whole)
    FewShotClassifier.from_run(run)
