"""What an answer may depend on: not on other queries, other tasks, nor on labels of queries."""

from __future__ import annotations

from dataclasses import replace

import torch

from metabench.conformance.made_up_data import permutations, take
from metabench.conformance.subject import NotApplicable, Subject, differ, difference
from metabench.methods.base import FeatureMethod


def queries_apart(subject: Subject) -> str | None:
    """Queries in another order, one alone, and one among others."""
    e, found = subject.episodes, subject.prediction
    size = e.query_x.shape[1]
    order = permutations("queries", tasks=len(e), size=size)
    reordered, expected = subject.predict(e.reorder_queries(order)), take(found, order)
    if differ(reordered, expected):
        if subject.method.transductive:
            return "the order of the queries changes the answers: not even transduction may see it"
        return _told("in another order of the queries", difference(reordered, expected))
    if subject.method.transductive:
        raise NotApplicable("transductive, as declared: queries may inform each other")
    first = torch.zeros(len(e), 1, dtype=torch.long)
    alone = subject.predict(e.reorder_queries(first))
    if differ(alone, found[:, :1]):
        return _told("when it is asked alone", difference(alone, found[:, :1]))
    # the first query stays, the others become copies of the second one
    others = torch.tensor([[0] + [1] * (size - 1)]).repeat(len(e), 1)
    replaced = subject.predict(e.reorder_queries(others))[:, :1]
    if differ(replaced, found[:, :1]):
        return _told("when the other queries change", difference(replaced, found[:, :1]))
    return None


def _told(when: str, size: float) -> str:
    return (
        f"leaks between queries: the answer to a query changes by {size:.2g} {when}, but "
        "transductive is False. Declare `transductive = True`, or find what the queries share: "
        "normalisation in training mode, a mean or a distance over all of query_x"
    )


def tasks_apart(subject: Subject) -> str | None:
    """Each task alone and in the batch."""
    e, found = subject.episodes, subject.prediction
    for t in range(len(e)):
        alone = subject.predict(e[t : t + 1])
        if differ(alone, found[t : t + 1]):
            return (
                f"leaks between tasks: task {t} is answered differently (by "
                f"{difference(alone, found[t : t + 1]):.2g}) when it is alone in the batch. "
                "Reduce over examples and features, never over the first axis; a stopping rule "
                "must not depend on the other tasks"
            )
    return None


def labels_hidden(subject: Subject) -> str | None:
    """Queries with other labels."""
    e, found = subject.episodes, subject.prediction
    wrong = e.query_y + 7.0 if e.ways is None else (e.query_y + 1) % e.ways
    answers = subject.predict(replace(e, query_y=wrong))
    if differ(answers, found):
        return (
            f"label leak: other query_y change the prediction by {difference(answers, found):.2g}. "
            "predict must not look at query_y"
        )
    return None


def embeds(subject: Subject) -> str | None:
    """One example alone and among others."""
    learner = subject.learner()
    if not isinstance(learner, FeatureMethod):
        raise NotApplicable("is no FeatureMethod")
    x = subject.episodes.query_x
    with torch.no_grad():
        together, alone = learner.embed(x)[:, :1], learner.embed(x[:, :1])
    if differ(together, alone):
        return (
            "the features of an example depend on the others of the call, but evaluation embeds a "
            "dataset once, in chunks. Make it a Method with its own predict"
        )
    return None
