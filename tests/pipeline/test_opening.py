"""Learners from elsewhere: what a file says is checked before it is built, run or believed."""

from __future__ import annotations

import re
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from metabench import FewShotClassifier
from metabench.files import InputError, digest, read_json
from metabench.pipeline.cells import is_done
from metabench.pipeline.opening import load_learner
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
        f"{trap}from metabench.methods.metric.protonet import ProtoNet\n"
        "class Mine(ProtoNet): pass\n"
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


def test_a_file_of_weights_of_other_sizes_is_refused(run) -> None:
    path = run / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    for change in ({name: torch.zeros(2, 2)}, {"more": torch.zeros(1)}):
        save_file(weights | change, path)
        rewrite(run, weights=digest(path))
        with pytest.raises(InputError, match=r"weights do not fit cell\.json"):
            FewShotClassifier.from_run(run)
    path.write_bytes(b"no weights")
    rewrite(run, weights=digest(path))
    with pytest.raises(InputError, match="not a file of weights"):
        FewShotClassifier.from_run(run)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a file"):
        FewShotClassifier.from_run(run)


def test_sizes_that_are_not_those_of_the_weights_take_no_memory(run) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rewrite(run, backbone={"name": "conv4", "settings": {"width": 16_000}})  # 28 GB
    with pytest.raises(InputError, match=r"weights do not fit cell\.json"):
        FewShotClassifier.from_run(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # kB


TASK = {"kind": "image", "ways": 5, "classes": 10, "outputs": 0}
WRONG: dict[str, dict[str, Any]] = {
    "input_shape": {"input_shape": [1, 10**9, 16]},
    "input_shape.0": {"input_shape": [0, 16, 16]},
    "task.classes": {"task": TASK | {"classes": 10**9}},
    "task.kind": {"task": TASK | {"kind": "video"}},
    "task.kind: image, but oracle takes": {"method": "oracle"},
    "task.kind: text, but conv4 takes": {"task": TASK | {"kind": "text"}},
    "white.whole: 300 is none of": {"white": {"whole": 300.0}},
    "white.float: 0 is none of": {"white": {"float": 0.0}},
    "backbone.settings": {"backbone": {"name": "conv4", "settings": [4]}},
    "settings: ways": {"settings": {"ways": "many"}},
    "backbone.settings: width": {"backbone": {"name": "conv4", "settings": {"width": 10**9}}},
    "weights": {"weights": None},
    "seed": {"seed": True},
    "invert": {"invert": 1},
    "pieces": {"pieces": 10**9},
    "files": {"files": {"../../secret": "0"}},
    "unknown method 'maml2'": {"method": "maml2"},
    "method ':X'": {"method": ":X"},
    "backbone.name": {"backbone": {"name": ".x:Y"}},
}


@pytest.mark.case("38")
@pytest.mark.parametrize("field", WRONG)
def test_a_field_that_is_wrong_is_named_with_its_file(field, run) -> None:
    rewrite(run, **WRONG[field])
    with pytest.raises(InputError, match=rf"(?s)^{run}/cell\.json: .*{re.escape(field)}"):
        FewShotClassifier.from_run(run, trust=True)


NO_CELLS = {
    "empty": b"",
    "a list": b"[]",
    "nothing in it": b"{}",
    "not UTF-8": b'{"key": "\xff\xfe"}',
    "another encoding": '{"key": "k"}'.encode("utf-16"),
    "deep": b'{"settings": ' + b"[" * 100_000,
    "a whole number without end": b'{"seed": ' + b"7" * 5000 + b"}",
    "large": b'{"key": "' + b"x" * 2**15 + b'"}',
}


@pytest.mark.case("38")
@pytest.mark.parametrize("what", NO_CELLS)
def test_a_file_that_is_no_cell_is_one_message(what, run) -> None:
    (run / "cell.json").write_bytes(NO_CELLS[what])
    with pytest.raises(InputError, match=r"^\S+cell\.json: ") as raised:
        FewShotClassifier.from_run(run)
    assert len(str(raised.value)) < 1000
    with pytest.raises(InputError):
        read_json(run / "cell.json") if what in ("empty", "deep") else load_learner(run)
    assert not is_done(run, "0" * 32)


@pytest.mark.parametrize(
    "name", ["../" * 9 + "etc", "runs:/../x", "0" * 31 + "/", "a\0b", "é" * 300]
)
def test_what_is_no_run_is_named_whatever_its_name(name) -> None:
    with pytest.raises(InputError, match="neither the folder of a trained learner"):
        FewShotClassifier.from_run(name)


def test_a_cell_that_is_a_folder_or_has_none_is_named(run) -> None:
    (run / "cell.json").unlink()
    (run / "cell.json").mkdir()
    with pytest.raises(InputError, match="neither the folder of a trained learner"):
        FewShotClassifier.from_run(run)
    with pytest.raises(InputError, match=r"cell\.json: not a file"):
        load_learner(run)
