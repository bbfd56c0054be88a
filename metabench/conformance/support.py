"""What the support may look like: class names, order, balance and ways."""

from __future__ import annotations

from dataclasses import replace

import torch

from metabench.conformance.made_up_data import (
    SHOTS,
    TASKS,
    WAYS,
    easy_episodes,
    permutations,
    with_support,
)
from metabench.conformance.subject import NoPrediction, NotApplicable, Subject, differ, difference
from metabench.files import InputError


def class_names(subject: Subject) -> str | None:
    """Classes get other names; logits must follow."""
    e, found = subject.episodes, subject.prediction
    if e.ways is None:
        raise NotApplicable("regression has no classes")
    name = permutations("names", tasks=len(e), size=e.ways)  # new name of each class, [T, ways]
    renamed = replace(e, support_y=name.gather(1, e.support_y), query_y=name.gather(1, e.query_y))
    back = name[:, None].expand_as(found)
    answers = subject.predict(renamed)
    if answers.shape == found.shape:
        answers = answers.gather(2, back)
    if differ(answers, found):
        return (
            "renaming the classes of an episode does not rename the logits (they differ by "
            f"{difference(answers, found):.2g}). A fixed head can memorise names: fill label slots "
            "by Episodes.by_appearance, or start all rows of the head alike"
        )
    return None


def order(subject: Subject) -> str | None:
    """The support in another order."""
    if subject.method.order_sensitive and subject.kind != "regression":
        raise NotApplicable("order_sensitive, as declared: the order of the support may matter")
    e, found = subject.episodes, subject.prediction
    rows = permutations("order", tasks=len(e), size=e.support_x.shape[1])
    answers = subject.predict(with_support(e, rows))
    if differ(answers, found):
        return (
            f"another order of the support changes the logits by {difference(answers, found):.2g}. "
            "Go by support_y, not by position; if the method reads a sequence, declare "
            "`order_sensitive = True`"
        )
    return None


def unbalanced(subject: Subject) -> str | None:
    """1, 2 and 4 examples of the three classes."""
    ways = subject.episodes.ways
    if ways is None:
        raise NotApplicable("regression has no classes")
    e = easy_episodes(subject.kind, TASKS, ways, 4)
    # 1, 2, 4 examples of the three classes; another class is the rare one in each task
    keep = [
        [c * 4 + i for c in range(ways) for i in range((1, 2, 4)[(c + t) % 3])]
        for t in range(TASKS)
    ]
    uneven = with_support(e, torch.tensor(keep))
    try:
        subject.predict(uneven)
    except NoPrediction as error:
        return (
            f"with 1, 2 and 4 examples of three classes, {error}. Do not reshape the support to "
            "[ways, shots], go by support_y"
        )
    return None


def other_ways(subject: Subject) -> str | None:
    """More ways than in training; where these are fixed, fewer."""
    if subject.kind == "regression":
        raise NotApplicable("regression has no classes")
    more = easy_episodes(subject.kind, TASKS, WAYS + 2, SHOTS)
    if not subject.method.variable_ways:
        try:
            subject.predict(more)
        except InputError:
            more = easy_episodes(subject.kind, TASKS, WAYS - 1, SHOTS)
        else:
            return "variable_ways is False, yet more ways than in training raise no InputError"
    try:
        subject.predict(more)
    except NoPrediction as error:
        return (
            f"{more.ways} ways after training with {WAYS}: {error}. If training fixes the number "
            "of classes, declare `variable_ways = False`"
        )
    return None
