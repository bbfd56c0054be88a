"""Running a learner on frozen episodes: per-episode scores, and what an episode costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metabench import rng
from metabench.data.base import Dataset, Transformation
from metabench.data.formats import match_format, to_input
from metabench.episodes import Episodes
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import InputError
from metabench.learning.calibration import temperature_for, temperature_of
from metabench.learning.flops import FlopCounter
from metabench.learning.metrics import classification, measure, regression
from metabench.methods.base import Diverged, FeatureMethod, Method
from metabench.runtime import clock

TIMED_EPISODES = 5
ENOUGH_MS = 2000.0
"""So many episodes are timed, or fewer once this much was spent on them."""


@dataclass(frozen=True)
class EpisodeSet:
    """Frozen episodes with the inputs they need, on the device.

    Attributes:
        frozen: the episodes; indices point into ``table``.
        table: the distinct examples that the episodes use, ``[M, ...]``; None for regression.
        augmentation: what leaves the labels of these examples alone.
    """

    frozen: FrozenEpisodes
    table: Tensor | None
    device: torch.device
    augmentation: tuple[Transformation, ...] = ()

    @staticmethod
    def of(
        frozen: FrozenEpisodes,
        dataset: Dataset | None,
        shape: tuple[int, ...] | None,
        device: torch.device,
    ) -> EpisodeSet:
        """Gather the examples of ``frozen`` once, in the source's input ``shape``.

        In random order: a dataset's is class by class, and ``embed`` sees the table.
        """
        if frozen.indices is None:
            return EpisodeSet(frozen, None, device)
        assert dataset is not None
        rows, inverse = np.unique(frozen.indices, return_inverse=True)
        order = rng.generator(frozen.hash, "table").permutation(len(rows))
        table = torch.from_numpy(np.ascontiguousarray(dataset.x[rows[order]]))
        if shape is not None:
            table = match_format(table, shape)
        place = order.argsort()[inverse.reshape(frozen.indices.shape)]
        compact = replace(frozen, indices=place)
        return EpisodeSet(compact, table.to(device), device, dataset.augmentation)

    def ask(self, tasks: slice, table: Tensor | None = None) -> tuple[Episodes, Tensor]:
        """Episodes ``tasks`` as a method may see them, and the labels of their queries apart.

        Args:
            tasks: which episodes.
            table: features of all examples, in place of the examples.
        """
        if table is not None:
            return self.frozen.episodes(tasks, table)
        episodes, labels = self.frozen.episodes(tasks, self.table)
        return replace(episodes, augmentation=self.augmentation).to(self.device), labels

    def features(self, method: FeatureMethod, chunk: int = 500) -> Tensor:
        """Embed the table once, ``[M, D]``: every example is embedded by itself."""
        assert self.table is not None
        with torch.no_grad():
            parts = [
                method.embed(to_input(part.clone())[None])[0] for part in self.table.split(chunk)
            ]
        return torch.cat(parts)

    def door(
        self, method: Method, predict: Callable[[Episodes], Any] | None = None
    ) -> tuple[Tensor | None, Callable[[Episodes], Any], int]:
        """What to :meth:`ask` from, what answers it, and how many tasks at once.

        By default ``predict`` is the method's own; a method that sees examples only through
        features then gets them from one embedded table.
        """
        if isinstance(method, FeatureMethod) and predict is None and self.table is not None:
            return self.features(method), method.classify, 50
        return None, predict or method.predict, method.eval_tasks

    def predictions(
        self, method: Method, predict: Callable[[Episodes], Any] | None = None
    ) -> Iterator[tuple[Tensor, Any]]:
        """Chunk by chunk the true labels of the queries, and what ``predict`` gives without them.

        The next chunk is asked once the last one was taken: what is measured at once cannot be
        changed later, through memory that a method has kept.
        """
        table, function, tasks = self.door(method, predict)
        for start in range(0, len(self.frozen), tasks):
            asked, labels = self.ask(slice(start, start + tasks), table)
            yield labels.to(self.device), function(asked)


RAW = ("nll", "bin_count", "bin_correct", "bin_confidence")
"""Numbers that are measured without the temperature too, as ``raw_nll`` and so on."""

Answers = Iterable[tuple[Tensor, Tensor]]
"""Labels of queries, and what a method answers to them: ``[T, Q]`` and ``[T, Q, K]``."""


def answers(
    method: Method,
    episodes: EpisodeSet,
    predict: Callable[[Episodes], Tensor] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels and predictions, chunk by chunk.

    Raises:
        Diverged: a prediction is not finite.
        InputError: predictions are of another shape or type.
    """
    for labels, outputs in episodes.predictions(method, predict):
        outputs = outputs.detach()
        if type(outputs) is not Tensor:
            raise InputError(
                f"{type(method).__name__}: predictions are {type(outputs).__name__}, a subclass of "
                "Tensor, which may answer a metric as it likes. Return a plain tensor."
            )
        wanted = labels.shape + ((episodes.frozen.ways,) if episodes.frozen.ways else ())
        if outputs.shape != wanted:  # a metric would spread them, and count an episode twice
            raise InputError(
                f"{type(method).__name__}: predictions on {episodes.frozen.dataset} are of shape "
                f"{tuple(outputs.shape)}. Return {tuple(wanted)}: `metabench check` tries it."
            )
        if not outputs.isfinite().all():
            raise Diverged(
                f"{type(method).__name__}: predictions on {episodes.frozen.dataset} are not "
                f"finite. Lower its learning rates of adaptation; settings: {method.settings}."
            )
        yield labels, outputs


def score(
    method: Method,
    episodes: EpisodeSet,
    predict: Callable[[Episodes], Tensor] | None = None,
    metrics: Sequence[str] = (),
    temperature: float = math.nan,
    fit: bool = False,
) -> pd.DataFrame:
    """One row per episode: ``metric`` and its ``value``, then a column for every other number.

    Args:
        metrics: names of those to measure beside what is always measured.
        temperature: divides logits before anything but accuracy is measured; NaN: they stay.
        fit: fit the temperature on these very episodes, if they are of classification.

    Raises:
        Diverged: a prediction, or its error, is not finite.
        InputError: predictions are of another shape or type; a metric fails, or returns something
            else than numbers.
    """
    with method.adapting(episodes.frozen.shots):
        given: Answers = answers(method, episodes, predict)
        if fit and episodes.frozen.ways:
            given = [(labels, outputs.clone()) for labels, outputs in given]  # not changed later
            known, logits = (torch.cat([pair[i] for pair in given]) for i in (0, 1))
            temperature = temperature_of(logits, known)
        parts = [_numbers(labels, outputs, metrics, temperature) for labels, outputs in given]
    main, *_ = parts[0]
    scores = pd.concat(map(pd.DataFrame, parts), ignore_index=True)
    if not np.isfinite(scores[main].to_numpy(np.float32)).all():  # as reports keep them
        raise Diverged(
            f"{type(method).__name__}: its {main} on {episodes.frozen.dataset} is not finite. "
            f"Lower its learning rates of adaptation; settings: {method.settings}."
        )
    found = scores.rename(columns={main: "value"}).assign(metric=main)
    return found.assign(temperature=temperature) if episodes.frozen.ways else found


def _numbers(
    labels: Tensor, outputs: Tensor, metrics: Sequence[str], temperature: float
) -> dict[str, Any]:
    """Columns of numbers, one for each episode; what methods are compared by comes first."""
    always = (regression if labels.is_floating_point() else classification).ALWAYS
    calibrated = not math.isnan(temperature)
    numbers = plain = measure(always, () if calibrated else metrics, outputs, labels)
    if calibrated:
        main, *_ = plain
        numbers = measure(always, metrics, outputs.double() / temperature, labels)
        numbers |= {main: plain[main]}  # a division could make a tie
    numbers = numbers | {f"raw_{name}": plain[name] for name in RAW if name in plain}
    return {name: _column(values) for name, values in numbers.items()}


def _column(values: Tensor) -> Any:
    """``[T]`` or ``[T, n]`` as a column with an entry for each episode."""
    array = values.cpu().numpy()
    return array if array.ndim == 1 else list(array)


def mean_score(method: Method, sets: Sequence[EpisodeSet]) -> float:
    """Validation score, higher is better: mean accuracy, or minus mean squared error."""
    values = [float(score(method, episodes)["value"].mean()) for episodes in sets]
    mean = statistics.fmean(values)
    return mean if sets[0].frozen.ways else -mean


def evaluate(
    method: Method,
    sets: Sequence[EpisodeSet],
    steps: Sequence[int] = (),
    report: Callable[[float, str], None] = lambda share, text: None,
    metrics: Sequence[str] = (),
    temperatures: Mapping[tuple[int, int], float] | None = None,
) -> pd.DataFrame:
    """Scores of ``method`` on all ``sets``, with extra rows after given numbers of steps.

    Args:
        steps: numbers of adaptation steps.
        report: is told of progress.
        metrics: names of those to measure beside what is always measured.
        temperatures: by ``(ways, shots)``, as they were fitted elsewhere; None: they are fitted on
            these episodes themselves.

    Returns:
        Columns of the result contract but for the cell's own (source, method, family, seed), and
        those of ``metrics``. After a number of steps that leads to no finite predictions there are
        no rows.

    Raises:
        Diverged: the method's own predictions are not finite.
    """
    frames = []
    for i, episodes in enumerate(sets):
        frozen = episodes.frozen
        if not can_answer(method, frozen.ways):
            continue
        report(i / len(sets), f"{frozen.dataset} {frozen.ways}w{frozen.shots}s")
        temperature = temperature_for(temperatures or {}, frozen.ways, frozen.shots)
        variants: list[tuple[int, Callable[[Episodes], Tensor] | None]] = [(-1, None)]
        if hasattr(method, "predict_after"):
            variants += [(count, _after(method, count)) for count in steps]
        for count, predict in variants:
            try:
                frame = score(method, episodes, predict, metrics, temperature, temperatures is None)
            except Diverged:
                if count < 0:
                    raise
                continue  # further than it was trained for: a row less, and the report says so
            frames.append(described(frame, frozen, count))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def can_answer(method: Method, ways: int) -> bool:
    """Whether ``method`` has outputs for so many classes; 0: regression."""
    return not ways or method.variable_ways or ways == method.task.ways


def described(scores: pd.DataFrame, frozen: FrozenEpisodes, steps: int = -1) -> pd.DataFrame:
    """``scores``, a row an episode, with columns that say of what."""
    return scores.assign(
        episode=np.arange(len(scores)),
        target=frozen.dataset,
        ways=frozen.ways,
        shots=frozen.shots,
        queries=frozen.queries,
        steps=steps,
        episode_hash=frozen.hash,
    )


def _after(method: Method, count: int) -> Callable[[Episodes], Tensor]:
    """Predict after ``count`` adaptation steps."""
    after: Any = method.predict_after
    return lambda episodes: after(episodes, [count])[0]


def episode_cost(method: Method, episodes: EpisodeSet) -> dict[str, float]:
    """What one task costs from raw inputs: median milliseconds and floating-point operations.

    ``adapt_ms`` is a prediction with a single query, ``predict_ms`` what the other queries add.
    """
    full_ms, single_ms = [], []
    for e in range(min(TIMED_EPISODES, len(episodes.frozen))):
        task, _ = episodes.ask(slice(e, e + 1))
        single = replace(task, query_x=task.query_x[:, :1], query_y=task.query_y[:, :1])
        with method.adapting(episodes.frozen.shots):
            single_ms.append(_milliseconds(method, single))
            full_ms.append(_milliseconds(method, task))
        if sum(full_ms) > ENOUGH_MS:
            break
    with FlopCounter() as counter, method.adapting(episodes.frozen.shots):
        method.predict(task)
    adapt = statistics.median(single_ms)
    return {
        "adapt_ms": adapt,
        "predict_ms": max(0.0, statistics.median(full_ms) - adapt),
        "adapt_flops": float(counter.total),
    }


def _milliseconds(method: Method, task: Episodes) -> float:
    def finish() -> None:
        if task.query_x.is_cuda:
            torch.cuda.synchronize()

    finish()
    start = clock(task.query_x.device)
    method.predict(task)
    finish()
    return 1000 * (clock(task.query_x.device) - start)
