"""How long a cell may take, in seconds: a stage begins with the longest.

A cell is thought to take as long as it did before, with whatever seed and settings, wherever there
is a record of that. Of any other we know how many examples go how often through the network: a
thousand a second, as with a small one on one core. All of it is a guess, for the order alone, on
which no result depends.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from metabench.config import Config
from metabench.config.search import adapts
from metabench.files import InputError, read_json
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import Pretraining, pretraining_of
from metabench.pipeline.validation import learner_class, learner_settings

RATE = 1000
"""Examples that go through a network in a second."""


def of_pretraining(
    config: Config, layout: Layout, source: str, pretraining: Pretraining, seed: int
) -> float:
    """A pretrained backbone."""
    folders = [layout.backbone(source, pretraining, s) for s in (seed, *config.seeds)]
    before = _recorded((folder / "cost.json" for folder in folders), "train_seconds")
    examples = pretraining.budget(config.task_type_of(source).budget).level.examples
    return examples / RATE if before is None else before


def of_training(config: Config, layout: Layout, source: str, method: str, seed: int) -> float:
    """A learner. Its pretraining is a cell of its own."""
    folders = [layout.learner(source, method, s) for s in (seed, *config.seeds)]
    before = _recorded((folder / "cost.json" for folder in folders), "train_seconds")
    return guess_of_training(config, source, method) if before is None else before


def of_evaluation(config: Config, layout: Layout, source: str, method: str, seed: int) -> float:
    """A result: its tasks one by one, as their costs are measured."""
    paths = [layout.result(source, method, s) for s in (seed, *config.seeds)]
    before = _recorded((path.with_suffix(".json") for path in paths), "adapt_ms", "predict_ms")
    if before is None:
        return guess_of_evaluation(config, source, method)
    task_type = config.task_type_of(source)
    return before / 1000 * task_type.evaluation.episodes * len([*task_type.evaluations_of(method)])


def of_embedding(processed: Path) -> float:
    """The vectors of a dataset: some fifty thousand bytes of it a second."""
    return (processed / "x.npy").stat().st_size / 50_000


def guess_of_training(config: Config, source: str, method: str) -> float:
    """By the budget, and the inner steps of which each outer step consists."""
    task_type = config.task_type_of(source)
    if learner_class(task_type.variant(method).method).source_training == "none":
        return 0.0
    pretraining, budget = pretraining_of(config, source, method), task_type.budget
    left = pretraining.left(budget) if pretraining else budget
    steps = _steps(learner_settings(config, source, method), in_prediction=False)
    return left.level.examples * (1 + steps) / RATE


def guess_of_evaluation(config: Config, source: str, method: str) -> float:
    """By the examples of all test episodes, and the steps of adaptation to each."""
    task_type = config.task_type_of(source)
    asked, settings = task_type.evaluation, (s for _, s in task_type.evaluations_of(method))
    size = sum((s.ways or 1) * (s.shots + asked.queries) for s in settings)
    steps = _steps(learner_settings(config, source, method), in_prediction=True)
    return asked.episodes * size * (1 + steps) / RATE


def _recorded(records: Iterable[Path], *names: str) -> float | None:
    """The sum of these numbers in the first record that is there and has them."""
    for path in records:
        with suppress(InputError, KeyError, TypeError):
            record = read_json(path)
            return float(sum(record[name] for name in names))
    return None


def _steps(settings: Any, in_prediction: bool) -> int:
    """Inner steps: of adaptation in prediction, or of an inner loop in training."""
    fields = type(settings).model_fields
    for name in ("test_steps", "steps"):
        if name in fields and adapts(fields[name]) == in_prediction:
            return int(getattr(settings, name))
    return 0
