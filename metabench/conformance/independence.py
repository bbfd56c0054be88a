"""What an answer may depend on: its support and its query, and on nothing else.

Not on other queries, other tasks, earlier calls or labels of queries, at whichever door of the
learner evaluation knocks (:attr:`Subject.doors`).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from metabench import rng
from metabench.conformance.made_up_data import (
    SHOTS,
    WAYS,
    easy_episodes,
    permutations,
    with_support,
)
from metabench.conformance.subject import (
    NotApplicable,
    Subject,
    differ,
    difference,
    embedded,
    predicted,
)
from metabench.episodes import Episodes, take
from metabench.methods.base import FeatureMethod

COMPANY = (1, 8, 66)
"""Sizes of the parts in which many queries are asked again: alone, as one of few, of many."""
TIMES = 4
"""So often are all of them asked in one call: 300 queries are 20 ways of 15."""
OTHER_SHOTS = (1, 5)
"""Numbers of shots that evaluation has most: code may take another way with a single one."""
TABLE = 500
"""Examples that evaluation embeds at once."""
STRENGTH = "support_augmentation"
"""The setting of a method that augments what it adapts to."""
FEATURE_TASKS = 50
"""Tasks that evaluation has a FeatureMethod classify at once."""


def queries_apart(subject: Subject) -> str | None:
    """Queries in another order and in other company, also with one shot and with five."""
    transductive = subject.method.transductive
    rows = permutations("queries", tasks=len(subject.many), size=sum(COMPANY))
    parts = [rows] if transductive else [*rows.split(COMPANY, dim=1), rows.repeat(1, TIMES)]
    asked = [(subject.many, part) for part in parts]
    if subject.many.ways is not None:
        for e in (easy_episodes(subject.kind, 2, WAYS, shots) for shots in OTHER_SHOTS):
            rows = permutations("queries", tasks=2, size=e.query_x.shape[1])
            asked.append((e, rows if transductive else rows[:, :1]))
    for door in subject.doors:
        for e, part in asked:
            found = subject.ask(door, e.reorder_queries(part))
            answers = subject.answers(door) if e is subject.many else subject.ask(door, e)
            if differ(found, take(answers, part)):
                size = difference(found, take(answers, part))
                return _leak(door, size, e, part.shape[1], transductive)
    if transductive:
        raise NotApplicable("transductive, as declared: queries may inform each other")
    return None


def _leak(door: str, size: float, e: Episodes, queries: int, transductive: bool) -> str:
    if transductive:
        return (
            f"the order of the queries changes the answers of {door} by {size:.2g}: not even "
            "transduction may see it"
        )
    return (
        f"leaks between queries: what {door} answers to a query changes by {size:.2g} when it is "
        f"one of {queries} in place of {e.query_x.shape[1]}, in another order (support: "
        f"{e.support_x.shape[1]} examples), but transductive is False. Declare `transductive = "
        "True`, or find what the queries share: normalisation in training mode, a mean or a "
        "distance over all of query_x"
    )


def tasks_apart(subject: Subject) -> str | None:
    """A task alone, and among as many as evaluation gives at once."""
    features = issubclass(subject.method, FeatureMethod)
    tasks = FEATURE_TASKS if features else max(3, subject.method.eval_tasks)
    e, t = easy_episodes(subject.kind, tasks, WAYS, SHOTS), tasks // 2
    for door in subject.doors:
        found, alone = subject.ask(door, e)[t : t + 1], subject.ask(door, e[t : t + 1])
        if differ(alone, found):
            return (
                f"leaks between tasks: {door} answers a task differently (by "
                f"{difference(alone, found):.2g}) when it is alone in the batch. Reduce over "
                "examples and features, never over the first axis; a stopping rule must not "
                "depend on the other tasks"
            )
    return None


def calls_apart(subject: Subject) -> str | None:
    """One learner asked twice, after others: what a call remembers, the next may show."""
    for door, ask in subject.doors.items():
        learner, first = subject.learner(), subject.answers(door)
        # not seeded in between: what a call leaves in the global generator is memory, too
        ask(learner, subject.episodes)
        for again in (ask(learner, subject.many) for _ in range(2)):
            if differ(again, first):
                return (
                    f"leaks between calls: asked after others, {door} answers the same tasks "
                    f"differently (by {difference(again, first):.2g}). Keep nothing of an episode: "
                    "not in the learner, nor in its class, its module or a random generator"
                )
    return None


def labels_hidden(subject: Subject) -> str | None:
    """Queries with labels drawn anew and, in one task, with zeros, as evaluation gives them."""
    e, labels = subject.many, subject.many.query_y
    drawn = torch.rand(labels.shape, generator=rng.torch_generator("conformance", "labels"))
    wrong = drawn.to(labels) if e.ways is None else (drawn * e.ways).to(labels)
    wrong[0] = 0
    for door in subject.doors:
        found, expected = subject.ask(door, replace(e, query_y=wrong)), subject.answers(door)
        if differ(found, expected):
            return (
                f"label leak: other query_y change what {door} answers by "
                f"{difference(found, expected):.2g}. It must not look at query_y, which "
                "evaluation fills with zeros"
            )
    return None


def embeds(subject: Subject) -> str | None:
    """Examples in a table, in another order and in other company."""
    learner = subject.learner()
    if not isinstance(learner, FeatureMethod):
        raise NotApplicable("is no FeatureMethod")
    x = subject.many.query_x
    with torch.no_grad():
        together, apart = learner.embed(x), embedded(learner, x)
        alone = learner.embed(x[:1, :1])
        rows = torch.arange(TABLE) % x.shape[:2].numel()
        table = learner.embed(x.flatten(0, 1)[rows][None])
    pairs = [
        (together, apart),
        (together[:1, :1], alone),
        (together.flatten(0, 1)[rows][None], table),
    ]
    if any(differ(*pair) for pair in pairs):
        return (
            "the features of an example depend on the others of the call, or on its place among "
            "them, but evaluation embeds a dataset once, in chunks and in random order. Make it a "
            "Method with its own predict"
        )
    return None


def classifies(subject: Subject) -> str | None:
    """A ``predict`` of its own, and ``classify`` of examples that were embedded before."""
    if "classify" not in subject.doors:
        raise NotApplicable("has no predict beside classify")
    found, expected = subject.answers("classify"), subject.answers("predict")
    if differ(found, expected):
        return (
            f"classify after embed differs from predict by {difference(found, expected):.2g}, but "
            "evaluation calls the one and the estimator the other. Leave predict to FeatureMethod, "
            "or make it a Method"
        )
    return None


def augments(subject: Subject) -> str | None:
    """With its support augmented at full strength: a task alone, in another order, fewer queries.

    Nothing but the support may decide which variants a step sees.
    """
    e, settings = subject.episodes[:2], subject.trained.settings
    if STRENGTH not in type(settings).model_fields or not e.augmentation:
        raise NotApplicable("has no augmented support")
    learners = []
    for strength in (0.0, 1.0, 1.0):
        learners.append(subject.opened(settings.model_copy(update={STRENGTH: strength})))
        learners[-1].load_state_dict(subject.trained.state_dict())
    ask = subject.doors.get("predict_after", predicted)  # after two steps, not all
    plain, found = ask(learners[0], e[1:]), ask(learners[1], e)
    if subject.method.adapts == "backbone" and not differ(plain, found[1:]):
        return (
            f"{STRENGTH} changes no answer: adapt to `augmented_support(episodes, strength, step)`"
        )
    size = e.support_x.shape[1]
    rows = permutations("augmented", tasks=len(e), size=size)
    if subject.method.order_sensitive:
        rows = torch.arange(size).expand(len(e), -1)
    other = with_support(e, rows)
    if not subject.method.transductive:
        other = other.reorder_queries(torch.zeros(len(e), 1, dtype=torch.int64))
        found = found[:, :1]
    torch.manual_seed(1)
    again = ask(learners[2], other[1:])
    if differ(again, found[1:]):
        return (
            f"with {STRENGTH} of 1, a task is answered differently (by "
            f"{difference(again, found[1:]):.2g}) when it is alone, in another order of the "
            "support, before fewer queries. Name the draws by the step alone: `augmented_support`"
        )
    return None
