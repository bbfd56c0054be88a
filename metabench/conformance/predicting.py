"""What a method predicts: of the right form, and leaving the learner as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from safetensors.torch import load, save
from torch import Tensor

from metabench.conformance.subject import (
    NotApplicable,
    Subject,
    differ,
    difference,
    predicted,
)
from metabench.episodes import Episodes


def predicts(subject: Subject) -> str | None:
    """Before training and after it."""
    if subject.fault is None:
        _ = subject.trained  # not applicable if it cannot be trained
    return subject.fault


def unchanged(subject: Subject) -> str | None:
    """State, gradients, modes, flags and the episodes are as they were."""
    for door, ask in subject.doors.items():
        learner, episodes = subject.learner(), copy.deepcopy(subject.episodes)
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        flags = {name: p.requires_grad for name, p in learner.named_parameters()}
        ask(learner, episodes)
        for name, value in learner.state_dict().items():
            if name not in before or not torch.equal(value, before[name]):
                return f"{door} changes '{name}': adapt copies of the weights, not the weights"
        if any(module.training for module in learner.modules()):
            return f"{door} leaves a module in training mode"
        if flags != {name: p.requires_grad for name, p in learner.named_parameters()}:
            return f"{door} changes requires_grad of a parameter"
        if any(p.grad is not None for p in learner.parameters()):
            return f"{door} leaves gradients on parameters: use torch.autograd.grad"
        for name, value in vars(episodes).items():
            if isinstance(value, Tensor) and not torch.equal(value, vars(subject.episodes)[name]):
                return f"{door} writes into the episodes' {name}"
        if not torch.is_grad_enabled():
            return f"{door} leaves gradients switched off"
    return None


def saved(subject: Subject) -> str | None:
    """The state goes into a learner with another random start."""
    trained = copy.deepcopy(subject.trained)
    stored = save({name: value.contiguous() for name, value in trained.state_dict().items()})
    settings = subject.method.Settings.model_validate(trained.settings.model_dump(mode="json"))
    loaded = subject.opened(settings)
    loaded.load_state_dict(load(stored))
    found, expected = (predicted(learner, subject.episodes) for learner in (loaded, trained))
    if differ(found, expected):
        return (
            "a saved and loaded learner predicts something else (by "
            f"{difference(found, expected):.2g}): keep what training or "
            "`fit_source_statistics` leaves in parameters or register_buffer"
        )
    return None


def any_steps(subject: Subject) -> str | None:
    """``predict_after`` with several numbers of steps and with each alone."""
    learner = subject.learner()
    if not hasattr(learner, "predict_after"):
        raise NotApplicable("has no predict_after")
    after = cast(Callable[[Episodes, Sequence[int]], list[Tensor]], learner.predict_after)
    single = {count: after(subject.episodes, [count])[0].detach() for count in (0, 2)}
    several = [answer.detach() for answer in after(subject.episodes, [2, 0, 2])]
    if len(several) != 3:
        return f"predict_after with three numbers of steps gives {len(several)} answers"
    for count, answer in zip((2, 0, 2), several, strict=True):
        if differ(answer, single[count]):
            return f"predict_after(episodes, [2, 0, 2]) gives another answer after {count} steps"
    return None
