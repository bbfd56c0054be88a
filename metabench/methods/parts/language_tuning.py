"""Tuning a text encoder on one support set, as practice with language models has it.

Many small steps with bias-corrected AdamW, warm-up and linear decay (Mosbach et al. 2021, "On the
stability of fine-tuning BERT"; Zhang et al. 2021), from the encoder's own weights and a head that
starts at the class means. Each task tunes copies of its own, so tasks go one by one.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench import rng
from metabench.backbones.base import Backbone
from metabench.config.bounds import BelowOne, Count, NonNegative, Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means
from metabench.methods.base import Method, Settings, Task

SCALE = 10.0
"""Logits at the start are cosine similarities to the class means times this."""


class LanguageTuningSettings(Settings):
    """How long and how fast a task is tuned.

    Attributes:
        finetune_lr: peak learning rate of the encoder's weights.
        head_lr: peak learning rate of the head.
        steps: optimiser steps.
        chunk: support examples a step (all, where the support is smaller).
        warm_up: share of the steps in which the learning rates rise.
        decay: weight decay.
    """

    finetune_lr: Annotated[Positive, Log(1e-5, 3e-3), ADAPTS] = 1e-4
    head_lr: Annotated[Positive, Log(1e-3, 0.1), ADAPTS] = 1e-2
    steps: Annotated[Count, Log(5, 100), ADAPTS] = 15
    chunk: Count = 16
    warm_up: BelowOne = 0.1
    decay: NonNegative = 0.01


class LanguageTuning(Method):
    """A subclass says what is tuned (:meth:`initial`) and how it enters the encoder.

    The support is read in chunks, so its order matters; the draws are named by a number that the
    learner keeps (``draws``), so seeds differ and a loaded learner does not.
    """

    family = "parameter"
    start = "pretrained"
    source_training = "none"
    kinds = frozenset({"text"})
    order_sensitive = True
    eval_tasks = 1
    Settings = LanguageTuningSettings
    draws: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: LanguageTuningSettings):
        super().__init__(backbone, task, settings)
        self.register_buffer("draws", torch.randint(2**31, (1,)))

    def encoder(self) -> dict[str, Tensor]:
        """All weights of the backbone's blocks, by name, trained on the source or not."""
        named = [*self.backbone.named_parameters(), *self.backbone.named_buffers()]
        inside = self.backbone.block_prefixes
        return {n: w for n, w in named if n.startswith(inside) and w.is_floating_point()}

    @abc.abstractmethod
    def initial(self) -> dict[str, Tensor]:
        """What is tuned beside the head, by name, as it is at the start."""

    def weights(self, learned: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replacements of the backbone's weights; by default what is learned is one."""
        return learned

    def embed(self, x: Tensor, learned: dict[str, Tensor]) -> Tensor:
        """Unit features ``[N, D]`` of examples ``[N, L]``."""
        weights = self.weights(learned)
        parts = [self.backbone(part[None], weights)[0] for part in x.split(256)]
        return F.normalize(torch.cat(parts), dim=-1)

    def predict(self, episodes: Episodes) -> Tensor:
        """Tune on each support, then predict its queries, ``[T, Q, ways]``."""
        assert episodes.ways is not None
        tasks = zip(episodes.support_x, episodes.support_y, episodes.query_x, strict=True)
        return torch.stack([self.predict_task(x, y, query, episodes.ways) for x, y, query in tasks])

    def predict_task(self, x: Tensor, y: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits ``[Q, ways]`` of one task, by a head that is tuned with the encoder."""
        learned = {n: w.detach().clone() for n, w in self.initial().items()}
        with torch.no_grad():
            means = class_means(self.embed(x, learned)[None], y[None], ways)[0]
        head = {"weight": SCALE * F.normalize(means, dim=-1), "bias": means.new_zeros(ways)}

        def loss(step: int) -> Tensor:
            rows = self.rows(len(x), step).to(x.device)
            logits = F.linear(self.embed(x[rows], learned), head["weight"], head["bias"])
            return F.cross_entropy(logits, y[rows])

        self.descend(loss, learned, head)
        with torch.no_grad():
            return F.linear(self.embed(query, learned), head["weight"], head["bias"])

    def rows(self, size: int, step: int) -> Tensor:
        """The support rows of a step: a slice of a fresh permutation for every pass."""
        chunk = min(self.settings.chunk, size)
        per_pass = size // chunk
        order = torch.randperm(size, generator=self.generator("pass", step // per_pass))
        place = (step % per_pass) * chunk
        return order[place : place + chunk]

    def generator(self, *name: str | int) -> torch.Generator:
        """Draws of this learner, by name."""
        return rng.torch_generator("language tuning", int(self.draws), *name)

    def descend(
        self,
        loss: Callable[[int], Tensor],
        learned: dict[str, Tensor],
        head: dict[str, Tensor],
    ) -> None:
        """AdamW on ``learned`` and ``head``, in place; nothing else keeps a gradient."""
        s = self.settings
        groups: list[dict[str, Any]] = [
            {"params": list(part.values()), "lr": lr}
            for part, lr in ((learned, s.finetune_lr), (head, s.head_lr))
            if part
        ]
        parameters = [p.requires_grad_() for group in groups for p in group["params"]]
        optimizer = torch.optim.AdamW(groups, weight_decay=s.decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, functools.partial(warm_up_then_decay, s.steps, s.warm_up)
        )
        with torch.enable_grad():
            for step in range(s.steps):
                slopes = torch.autograd.grad(loss(step), parameters, allow_unused=True)
                for p, slope in zip(parameters, slopes, strict=True):
                    p.grad = slope
                optimizer.step()
                schedule.step()
        for p in parameters:
            p.requires_grad_(False)


def warm_up_then_decay(steps: int, share: float, step: int) -> float:
    """Factor of the learning rates: rises over the first ``share`` of steps, then falls to zero."""
    rising = round(steps * share)
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1, steps - rising))
