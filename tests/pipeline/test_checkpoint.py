"""The checkpoint of a cell: damage, a full disk, a kill at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metabench.files import InputError
from metabench.pipeline.cells import train_cell
from metabench.pipeline.checkpoint import CheckpointFile
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from tests.toy import TOY_NAME, prepared, root_of_repository, toy_config


def silent(share: float, text: str) -> None:
    pass


def test_a_damaged_checkpoint_is_named(tmp_path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"state\.pt: damaged checkpoint"):
        CheckpointFile(tmp_path / "state.pt").load(lambda snapshot: pytest.fail("it was read"))


def test_a_checkpoint_of_another_training_is_set_aside(tmp_path) -> None:
    CheckpointFile(tmp_path / "state.pt").save({"method": {"weight": torch.zeros(2)}})

    def restore(snapshot):
        torch.nn.Linear(3, 3).load_state_dict(snapshot["method"])

    with pytest.raises(InputError, match=r"damaged checkpoint .*set aside as state\.damaged"):
        CheckpointFile(tmp_path / "state.pt").load(restore)
    assert CheckpointFile(tmp_path / "state.pt").load(restore) is None


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(tmp_path, monkeypatch) -> None:
    config = toy_config()
    layout = prepared(tmp_path, config)
    folder = layout.learner(TOY_NAME, "protonet", 0)
    save, calls = torch.save, []

    def failing(value: object, path: Path) -> None:
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(value, path)

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(InputError, match=r"state-.*\.pt: the disk is full"):
        train_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    assert [p.suffix for p in folder.iterdir()] == [".pt"]  # the checkpoint before, and it is whole
    assert torch.load(next(folder.iterdir()), weights_only=True)["state"]["spent"] >= 200
    train_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    load_learner(folder)


SCRIPT = """
import sys, time
from pathlib import Path
from metabench.config import Level
from metabench.learning import training
from metabench.pipeline.cells import train_cell
from metabench.pipeline.layout import Layout
from tests.toy import TOY_NAME, toy_config
torch_step = training._step
def slow(*arguments):
    time.sleep(0.02)
    return torch_step(*arguments)
training._step = slow
train = training.train
import metabench.pipeline.cells
metabench.pipeline.cells.train = lambda *a, **k: train(*a, **k, save_every=0.05)
print("started", flush=True)
layout = Layout(Path(sys.argv[1]), level=Level(400))
train_cell(lambda *a: None, toy_config(), layout, TOY_NAME, "protonet", 0)
"""


def test_training_killed_at_any_moment_resumes_to_the_bit(tmp_path) -> None:
    config = toy_config()
    reference = prepared(tmp_path / "whole", config)
    train_cell(silent, config, reference, TOY_NAME, "protonet", 0)
    layout: Layout = prepared(tmp_path / "killed", config)
    folder = layout.learner(TOY_NAME, "protonet", 0)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(layout.root)],
            cwd=root_of_repository(),
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdout.readline()
        before = _spent(folder)
        while _spent(folder) == before:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "cell.json").exists()
    train_cell(silent, config, layout, TOY_NAME, "protonet", 0)
    whole = load_file(reference.learner(TOY_NAME, "protonet", 0) / "model.safetensors")
    resumed = load_file(folder / "model.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    curves = [
        (f / "curve.csv").read_text() for f in (reference.learner(TOY_NAME, "protonet", 0), folder)
    ]
    assert curves[0] == curves[1]


def _spent(folder: Path) -> int:
    """Examples that the checkpoint on disk accounts for."""
    for path in folder.glob("state-*.pt"):
        try:
            return int(torch.load(path, weights_only=True)["state"]["spent"])
        except FileNotFoundError:
            pass
    return 0
