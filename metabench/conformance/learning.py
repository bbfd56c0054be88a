"""Training: it works, is repeatable, and learns what can be learned and nothing else."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metabench import rng
from metabench.config import Training
from metabench.conformance.made_up_data import (
    QUERIES,
    SHOTS,
    TRAINING,
    WAYS,
    easy_episodes,
    permutations,
)
from metabench.conformance.subject import (
    NO_PREDICTION,
    STEPS,
    NotApplicable,
    Subject,
    differ,
    predicted,
)
from metabench.episodes import take
from metabench.learning.training import draw
from metabench.methods.base import Method

NOISE, ROUNDING = 1e-9, 1e-13
"""A gradient is rounding noise below this share of the largest one, or if it is this small."""
LONG = Training(ways=WAYS, shots=(7,), queries=QUERIES)
"""Training episodes with as many examples as made-up classes have."""
LEARNING_STEPS, LEARNING_TASKS = 600, 8
"""Training steps, of so many episodes, within which an easy problem must be learned."""


def trains(subject: Subject) -> str | None:
    """One step: the loss is a finite scalar, some gradient is not zero and all are finite."""
    if subject.untrained is not None:
        raise NotApplicable(NO_PREDICTION)
    subject.train(subject.build(), STEPS)
    learner = subject.build()
    if learner.source_training == "none":
        raise NotApplicable("does not train")
    learner.train()
    torch.manual_seed(0)
    loss = learner.loss(draw(learner, subject.source, TRAINING, 0), 0.0)
    if loss.dim() != 0 or not loss.isfinite():
        return f"loss must be a finite scalar, it is {loss.detach()}"
    loss.backward()
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    if not all(g.isfinite().all() for g in gradients):
        return "a gradient of the loss is not finite"
    if not any(g.abs().max() > ROUNDING for g in gradients):
        return "the loss has no gradient: nothing would be learned"
    return None


def every_weight(subject: Subject) -> str | None:
    """Of a few steps of a briefly trained learner, each trainable weight has a gradient in one.

    Early, half-way and at the end of training, as methods have schedules; after a few steps, as a
    weight may wait for others to leave zero; with long supports, as weights may be made for them.

    A bias that what follows takes away again (a normalisation, a distance) never has one. It
    changes no answer, so it may stay.
    """
    learner = subject.learner()
    if learner.source_training == "none":
        raise NotApplicable("does not train")
    learner.train()
    trained = {id(p) for group in learner.parameter_groups() for p in group["params"]}
    largest = {name: 0.0 for name, p in learner.named_parameters() if id(p) in trained}
    for step, progress in enumerate((0.0, 0.5, 1.0)):
        torch.manual_seed(step)
        learner.zero_grad()
        learner.loss(draw(learner, subject.source, LONG, step), progress).backward()
        for name, p in learner.named_parameters():
            if name in largest and p.grad is not None:
                largest[name] = max(largest[name], float(p.grad.abs().max()))
    most = max(largest.values(), default=0.0)
    noise = {name: size for name, size in largest.items() if size <= max(NOISE * most, ROUNDING)}
    idle = [f"'{name}' ({size:.0e})" for name, size in noise.items() if _counts(subject, name)]
    if idle:
        return (
            f"the gradient of {', '.join(idle)} is zero or rounding noise in every step tried (the "
            f"largest one is {most:.0e}), so nothing is learned there. Do rows of a head start "
            "alike, is there no way to the loss, or does it add the same to all logits? Mend it, "
            "or freeze the weight"
        )
    return None


def _counts(subject: Subject, name: str) -> bool:
    """Whether a parameter is more than a bias, or a bias that changes an answer."""
    learner = subject.learner()
    bias = learner.get_parameter(name)
    if bias.dim() > 1:
        return True
    drawn = torch.rand(bias.shape, generator=rng.torch_generator("conformance", "bias"))
    with torch.no_grad():
        bias.add_(drawn.to(bias))
    found, expected = predicted(learner, subject.episodes), subject.prediction
    if subject.episodes.ways is None:
        return differ(found, expected)
    return differ(found.softmax(-1), expected.softmax(-1))


def within_budget(subject: Subject) -> str | None:
    """Statistics of the source change no weight: nobody counts the examples that they take."""
    learner = subject.build().eval()
    before = {name: weight.detach().clone() for name, weight in learner.named_parameters()}
    learner.fit_source_statistics(subject.source)
    for name, weight in learner.named_parameters():
        if not torch.equal(weight, before.get(name, weight.new_empty(0))):
            return (
                f"fit_source_statistics changes '{name}': train weights by `loss`, whose examples "
                "are counted; statistics are buffers (register_buffer)"
            )
    return None


def same_for_a_seed(subject: Subject) -> str | None:
    """Trained twice, and asked under another state of the global generator."""
    trained, again = subject.trained, subject.build()
    subject.train(again, STEPS)
    for name, value in trained.state_dict().items():
        if not torch.equal(value, again.state_dict()[name]):
            return f"training twice from one seed gives two values of '{name}'"
    torch.manual_seed(1)
    if differ(predicted(subject.learner(), subject.episodes), subject.prediction):
        return (
            "predict depends on the state of torch's global generator. Name the draw: "
            "metabench.rng.torch_generator('my method', 'purpose', step)"
        )
    return None


def chance(subject: Subject) -> str | None:
    """With shuffled labels of the support, accuracy must be that of guessing."""
    if subject.kind != _main_kind(subject.method):
        raise NotApplicable("tried on one kind of data")
    tasks = 60
    e = easy_episodes(subject.kind, tasks, WAYS, SHOTS)
    rows = permutations("shuffled", tasks=tasks, size=e.support_y.shape[1])
    shuffled = replace(e, support_y=take(e.support_y, rows))
    found = _accuracy(subject.predict(shuffled), e.query_y)
    # the classes of a task share their fate: about one independent trial for each class
    bound = 1 / WAYS + 5 * (2 / 9 / (WAYS * tasks)) ** 0.5
    if found > bound:
        return (
            f"accuracy {found:.0%} with shuffled support labels, chance is {1 / WAYS:.0%}: the "
            "answer comes from somewhere else, such as the order of the queries"
        )
    return None


def learns(subject: Subject) -> str | None:
    """Training until well separated classes are told apart."""
    if subject.method.family == "control":
        raise NotApplicable("a control need not learn")
    if subject.kind != _main_kind(subject.method):
        raise NotApplicable("tried on one kind of data")
    _ = subject.trained  # not applicable if it cannot even train
    learner = subject.build(tasks=LEARNING_TASKS)
    e = easy_episodes(subject.kind, 40, WAYS, SHOTS)
    done, block, found = 0, LEARNING_STEPS // 12, 0.0
    while done < LEARNING_STEPS and found <= 0.95:
        subject.train(learner, block, first=done)
        done += block
        found = _accuracy(predicted(learner, e), e.query_y)
        if learner.source_training == "none":
            break
    if found <= 0.95:
        return (
            f"accuracy {found:.0%} on well separated classes after {done} training steps, "
            "expected above 95%"
        )
    return None


def _main_kind(method: type[Method]) -> str | None:
    """The kind on which learning is tried: the cheapest one with classes."""
    return next((kind for kind in ("vector", "image", "text") if kind in method.kinds), None)


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    top = logits == logits.max(-1, keepdim=True).values
    return float((top.gather(-1, labels[..., None])[..., 0] / top.sum(-1)).mean())
