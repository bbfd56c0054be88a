"""Optimisers of the training loop, both with weight decay that is decoupled from the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from metabench.methods.base import Method

MOMENTUM = 0.9


class SGDW(torch.optim.SGD):
    """Gradient descent with momentum and decoupled decay (Loshchilov & Hutter 2019, algorithm 1).

    ``θ ← (1 − αλ) θ``, then ``v ← μv + ∇L, θ ← θ − αv``. Torch's own adds ``λθ`` to the gradient,
    where momentum makes ``1/(1 − μ)`` times as much of it.
    """

    def __init__(self, parameters: Any, lr: float, momentum: float, weight_decay: float):
        super().__init__(parameters, lr=lr, momentum=momentum)
        self.decay = weight_decay

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step on all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * self.decay)
        return super().step(closure)


def optimizer_of(method: Method) -> torch.optim.Optimizer:
    """The optimiser that a method's settings ask for, on the method's own parameter groups."""
    s, groups = method.settings, method.parameter_groups()
    if s.optimizer == "sgd":
        return SGDW(groups, lr=s.lr, momentum=MOMENTUM, weight_decay=s.weight_decay)
    return torch.optim.AdamW(groups, lr=s.lr, weight_decay=s.weight_decay)
