from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from metabench.config import Budget, Training
from metabench.episodes import Episodes
from metabench.episodes.sampling import ArraySource
from metabench.files import InputError
from metabench.learning.training import State, train
from metabench.methods.base import Diverged, Method, Settings, Task
from metabench.pipeline.cells import train_cell
from metabench.pipeline.layout import Layout
from metabench.pipeline.opening import load_learner
from tests.toy import TOY_NAME, prepared, root_of_repository, toy_config, toy_dataset


def silent(share: float, text: str) -> None:
    pass


class Line(Method):
    """One weight whose loss is (w - 3)²; records what the loop tells it."""

    family = "control"
    paper = "none"
    Settings = Settings

    def __init__(self, settings: Settings | None = None):
        task = Task("image", 5, 6)
        super().__init__(nn.Identity(), task, settings or Settings(lr=0.5))  # type: ignore[arg-type]
        self.weight = nn.Parameter(torch.zeros(()))
        self.progress: list[float] = []
        self.examples = 0

    def loss(self, batch: Episodes, progress: float) -> Tensor:
        self.progress.append(progress)
        self.examples += batch.examples
        return (self.weight - 3).square()

    def predict(self, episodes: Episodes) -> Tensor:
        return torch.zeros(1)


def run(method: Method, path: Path, examples: int = 1000, validate=None) -> State:
    return train(
        method,
        ArraySource(toy_dataset(), 0, torch.device("cpu")),
        validate or (lambda m: -abs(float(m.weight) - 3)),
        Budget(examples=examples, validations=4, val_episodes=4),
        Training(ways=5, shots=(1,), queries=3),
        path / "state.pt",
        silent,
    )


def test_the_budget_is_spent_and_not_exceeded_by_a_step(tmp_path) -> None:
    method = Line()
    state = run(method, tmp_path)
    per_step = 4 * 5 * 4  # tasks × ways × (shots + queries)
    assert state.spent == method.examples
    assert 1000 <= state.spent < 1000 + per_step
    assert method.progress[0] == 0 and max(method.progress) < 1
    assert len(state.curve) == 4 and state.curve[-1][0] == state.spent


def test_the_best_validation_score_is_kept_and_not_the_last(tmp_path) -> None:
    scores = iter([0.1, 0.9, 0.2, 0.3])
    seen: list[float] = []

    def validate(method: Method) -> float:
        seen.append(float(method.weight))
        return next(scores)

    method = Line()
    state = run(method, tmp_path, validate=validate)
    assert state.best == 0.9
    assert float(method.weight) == seen[1] != seen[3]


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_method(tmp_path) -> None:
    class Bad(Line):
        def loss(self, batch: Episodes, progress: float) -> Tensor:
            return super().loss(batch, progress) * (math.nan if progress > 0.5 else 1.0)

    with pytest.raises(Diverged, match=r"Bad: loss is nan at step \d+ .*learning rates"):
        run(Bad(), tmp_path)


def test_weights_whose_adaptation_diverges_are_not_chosen_and_training_goes_on(tmp_path) -> None:
    scores = iter([None, 0.4, None, math.nan])

    def validate(method: Method) -> float:
        score = next(scores)
        if score is None:
            raise Diverged("predictions are not finite")
        return score

    state = run(Line(), tmp_path / "some", validate=validate)
    assert state.best == 0.4 and [row[2] for row in state.curve][1] == 0.4
    with pytest.raises(Diverged, match="best validation score is -inf"):
        run(Line(), tmp_path / "none", validate=lambda method: math.nan)


def test_a_damaged_checkpoint_is_named(tmp_path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"state\.pt: damaged checkpoint"):
        run(Line(), tmp_path)


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
train_cell(lambda *a: None, toy_config(), Layout(Path(sys.argv[1])), TOY_NAME, "protonet", 0)
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
