"""Other rules than ``val`` to choose adaptation settings by: what choosing is worth.

The candidates are a learner's own settings, and others that differ in what prediction alone uses.
``support`` chooses for each episode by cross-validation on its labelled examples, as somebody can
who has nothing but these. ``oracle`` chooses for each target and setting by the test episodes
themselves: what no rule can exceed, and no result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from metabench import rng
from metabench.config.search import adapts
from metabench.episodes import Episodes, one_hot
from metabench.learning.metrics import classification, regression
from metabench.learning.scoring import EpisodeSet, described, score
from metabench.methods.base import Diverged, Method
from metabench.methods.searching import drawn, searched

FOLDS = 5


def candidates(method: Method, shots: int, count: int) -> list[Any]:
    """The settings of ``method`` for ``shots``, and ``count − 1`` others; alone if nothing adapts.

    A value of another one is at a share of its range that the candidate's number and the name of
    the setting draw: the same for all methods, sources and seeds.
    """
    own, cls, backbone = method.settings.at(shots), type(method), type(method.backbone)
    fields = cls.Settings.model_fields
    names = [name for name in searched(cls, backbone) if adapts(fields[name])]
    found = [own]
    for number in range(1, count if names else 1):

        def share(name: str, number: int = number) -> float:
            return rng.generator("candidate", number, name).random()

        values = drawn(cls, backbone, share)
        found.append(own.model_copy(update={name: values[name] for name in names}))
    return found


def folds(episodes: Episodes, count: int, *name: str | int) -> Iterator[Episodes]:
    """The support of the episodes as ``count`` other episodes: a part of it are the queries.

    Each class (regression: all points) is divided evenly, and all tasks alike; the queries are in
    a random order that ``name`` draws. True labels are in ``query_y``.
    """
    y = episodes.support_y
    if episodes.ways is None:
        place = torch.arange(y.shape[1], device=y.device).expand(y.shape[:2])
    else:  # of the examples of the same class, in their order
        member = one_hot(y, episodes.ways, y)
        place = (member.cumsum(1) * member).sum(-1) - 1
    task = torch.arange(len(y), device=y.device)[:, None]
    for fold in range(count):
        held = place % count == fold
        inside, outside = (part.nonzero()[:, 1].reshape(len(y), -1) for part in (~held, held))
        order = rng.generator(*name, "fold", fold).permutation(outside.shape[1])
        outside = outside[:, torch.from_numpy(order).to(y.device)]
        yield replace(
            episodes,
            support_x=episodes.support_x[task, inside],
            support_y=y[task, inside],
            query_x=episodes.support_x[task, outside],
            query_y=y[task, outside],
        )


def support_scores(method: Method, episodes: EpisodeSet) -> np.ndarray:
    """``[E]``: score of each episode by cross-validation on its support, higher is better.

    −inf where a prediction is not finite. Queries have no part in it.
    """
    frozen, found = episodes.frozen, []
    table, function, tasks = episodes.door(method)
    metric = (classification if frozen.ways else regression).ALWAYS[0]
    count = min(frozen.shots, FOLDS)
    for start in range(0, len(frozen), tasks):
        asked, _ = episodes.ask(slice(start, start + tasks), table)
        total = torch.zeros(len(asked), dtype=torch.float64)
        for part in folds(asked, count, frozen.hash):
            unlabelled = replace(part, query_y=torch.zeros_like(part.query_y))
            outputs = function(unlabelled).detach()
            (values,) = metric(outputs, part.query_y).values()
            signed = (values if frozen.ways else -values).double()
            finite = outputs.isfinite().flatten(1).all(1) & signed.isfinite()
            total += part.query_y.shape[1] * torch.where(finite, signed, -torch.inf).cpu()
        found.append(total / asked.support_y.shape[1])
    return torch.cat(found).numpy()


def selected(
    method: Method,
    episodes: EpisodeSet,
    rules: Sequence[str],
    count: int,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Scores of ``method`` on one set of episodes, with the settings that each of ``rules`` takes.

    Costs a prediction of all episodes for each of ``count`` candidates, and as many more as there
    are folds where ``support`` is a rule.

    Returns:
        Columns as :func:`metabench.learning.scoring.evaluate`, and ``selection``; likelihoods are
        of logits as they are. No rows where nothing adapts; none of ``support`` with one shot,
        which leaves nothing to fit.
    """
    frozen, own = episodes.frozen, method.settings
    tried = candidates(method, frozen.shots, count)
    rules = [rule for rule in rules if rule != "support" or frozen.shots > 1]
    if len(tried) == 1 or not rules:
        return pd.DataFrame()
    frames, by_support = [], []
    try:
        for settings in tried:
            method.settings = settings
            try:
                frame = score(method, episodes, metrics=metrics)
            except Diverged:
                continue  # no candidate
            frames.append(frame)
            if "support" in rules:
                by_support.append(support_scores(method, episodes))
    finally:
        method.settings = own
    sign = 1 if frozen.ways else -1
    means = [sign * frame["value"].mean() for frame in frames]
    choices = {"oracle": np.full(len(frozen), np.argmax(means))}
    if by_support:
        choices["support"] = np.argmax(by_support, axis=0)  # of candidates alike, the first
    stacked, rows = pd.concat(frames, ignore_index=True), np.arange(len(frozen))
    return pd.concat(
        [
            described(stacked.iloc[choices[rule] * len(frozen) + rows], frozen).assign(
                selection=rule
            )
            for rule in rules
        ],
        ignore_index=True,
    )
