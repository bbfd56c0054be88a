"""The training loop that pretraining and every method share: budget, validation, checkpoints.

All randomness of a step is named by (seed, step), and a snapshot holds everything else, so a
training that is killed at any moment and resumed ends in the same bits as one that was not. Where
snapshots are kept is the caller's: this module knows no files.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from metabench import rng
from metabench.config import Budget, Training
from metabench.episodes import Episodes
from metabench.episodes.sampling import ArraySource, TaskSource
from metabench.episodes.source import Examples
from metabench.learning.flops import FlopCounter
from metabench.learning.optimizers import optimizer_of
from metabench.methods.base import Diverged, Method
from metabench.runtime import clock

AnySource = ArraySource | TaskSource
Report = Callable[[float, str], None]
"""``(share done 0..1, text)``, for progress bars."""
Snapshot = dict[str, Any]
"""Everything that a training needs to go on, as plain values and tensors."""


@dataclass
class State:
    """Progress of one training, beside weights and optimiser.

    Attributes:
        seconds: of its steps, by :func:`~metabench.runtime.clock`.
        measured: numbers of each step since the last validation: ``train_loss`` and what the
            method has measured.
        curve: a row for each validation: ``examples``, the means of ``measured``, and ``val``, the
            score.
    """

    step: int = 0
    spent: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    best: float = -math.inf
    measured: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)


Resumed = tuple[State, dict[str, Tensor]]
"""Progress, and the weights that were best so far."""


class Checkpoint(Protocol):
    """Where a training keeps its last snapshot, so that a crash costs little."""

    def save(self, snapshot: Snapshot) -> None:
        """Replace what was kept."""

    def load(self, restore: Callable[[Snapshot], Resumed]) -> Resumed | None:
        """What ``restore`` makes of the last snapshot; None where there is none.

        ``restore`` fails with an error of torch's or a KeyError if that is of another training.
        """


def draw(method: Method, source: AnySource, training: Training, step: int) -> Episodes | Examples:
    """The batch of outer step ``step``, in the form the method learns from."""
    s = method.settings
    if method.source_training == "supervised":
        return source.batch(step, s.batch, s.augmentation)
    shots = s.shots or training.shots
    choice = int(rng.generator(source.seed, "shots", step).integers(len(shots)))
    ways = min(s.ways or training.ways, source.classes) if source.classes else 0
    queries = s.queries or training.queries
    return source.episodes(step, s.tasks, ways, shots[choice], queries, s.augmentation)


def train(
    method: Method,
    source: AnySource,
    validate: Callable[[Method], float],
    budget: Budget,
    training: Training,
    report: Report,
    checkpoint: Checkpoint | None = None,
    save_every: float = 30.0,
) -> State:
    """Train until the budget's examples are spent; leave ``method`` at its best validation score.

    Args:
        method: on its device; trained in place.
        validate: score on ``val`` episodes, higher is better.
        checkpoint: is asked at the start for what to go on from, and kept up to date.
        save_every: seconds between checkpoints (one is always written at a validation).

    Raises:
        Diverged: a loss is not finite, or no validation score is.
    """
    optimizer = optimizer_of(method)
    peaks = [group["lr"] for group in optimizer.param_groups]
    resumed = (
        checkpoint.load(functools.partial(_restore, method, optimizer)) if checkpoint else None
    )
    state, best_weights = resumed or (State(), _weights(method))

    def save() -> None:
        if checkpoint:
            checkpoint.save(_snapshot(state, method, optimizer, best_weights))

    examples = budget.level.examples
    interval = examples / budget.validations
    saved = time.monotonic()
    while state.spent < examples:
        started = clock(source.device)
        progress = state.spent / examples
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * progress))
        torch.manual_seed(rng.seed_of(source.seed, "train", state.step))
        batch = draw(method, source, training, state.step)
        loss = _step(method, optimizer, batch, progress, state)
        state.measured.append({"train_loss": loss} | method.measured)
        before, after = state.spent, state.spent + batch.examples
        state.step, state.spent = state.step + 1, after
        state.seconds += clock(source.device) - started
        if after // interval > before // interval or after >= examples:
            method.eval()
            score = _score(validate, method)
            means = {
                name: statistics.fmean(numbers[name] for numbers in state.measured)
                for name in state.measured[-1]
            }
            state.curve.append({"examples": state.spent} | means | {"val": score})
            state.measured.clear()
            if score > state.best:  # never where it is not a number
                state.best, best_weights = score, _weights(method)
            mean = means["train_loss"]
            report(state.spent / examples, f"loss {mean:.3f}  val {score:.3f}")
            save()
            saved = time.monotonic()
        elif time.monotonic() - saved > save_every:
            save()
            saved = time.monotonic()
            report(state.spent / examples, f"loss {loss:.3f}")
    if not math.isfinite(state.best):
        _check(state.best, "best validation score", method, state)
    method.load_state_dict(best_weights)
    method.eval()
    return state


def _score(validate: Callable[[Method], float], method: Method) -> float:
    """The validation score; not a number where adaptation diverges on some episode.

    Early on it may, and later not any more: such weights are not chosen, and training goes on.
    """
    try:
        return validate(method)
    except Diverged:
        return math.nan


def _step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    batch: Episodes | Examples,
    progress: float,
    state: State,
) -> float:
    """One optimiser step; counts floating-point operations in a few of the steps."""
    method.train()
    counter = FlopCounter() if state.step < 4 else None
    if counter:
        with counter:
            loss = method.loss(batch, progress)
            optimizer.zero_grad()
            loss.backward()
        per_example = counter.total / batch.examples
        state.flops += (per_example - state.flops) / (state.step + 1)  # mean of the steps counted
    else:
        loss = method.loss(batch, progress)
        optimizer.zero_grad()
        loss.backward()
    value = float(loss.detach())
    _check(value, "loss", method, state)
    if method.settings.clip:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, method.settings.clip)
    optimizer.step()
    return value


def _check(value: float, what: str, method: Method, state: State) -> None:
    if not math.isfinite(value):
        raise Diverged(
            f"{type(method).__name__}: {what} is {value} at step {state.step} ({state.spent} "
            f"examples). Lower the learning rates; settings: {method.settings}. The last "
            "checkpoint is kept."
        )


def _weights(method: Method) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


def _snapshot(
    state: State, method: Method, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]
) -> Snapshot:
    return {
        "state": asdict(state),
        "method": method.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": best,
    }


def _restore(method: Method, optimizer: torch.optim.Optimizer, snapshot: Snapshot) -> Resumed:
    """Put ``method`` and ``optimizer`` where they were."""
    method.load_state_dict(snapshot["method"])
    optimizer.load_state_dict(snapshot["optimizer"])
    return State(**snapshot["state"]), snapshot["best"]
