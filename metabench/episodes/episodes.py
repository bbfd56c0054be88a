"""Episodes: batches of few-shot tasks, and the arithmetic on labels that all methods share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.data.base import Transformation


@dataclass(frozen=True)
class Episodes:
    """A batch of ``T`` tasks with ``S`` support and ``Q`` query examples each.

    The support need not be balanced nor ordered by class: its labels say what is what.

    Attributes:
        support_x: ``[T, S, ...]`` examples (or features).
        support_y: ``[T, S]`` int64 labels in ``0..ways-1``; regression: ``[T, S, D]`` float.
        query_x: ``[T, Q, ...]``.
        query_y: ``[T, Q]``; regression: ``[T, Q, D]``. Zeros where a learner is evaluated.
        ways: number of classes of every task; ``None`` for regression.
        augmentation: what leaves the labels of these examples alone, as their dataset declares.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    ways: int | None
    augmentation: tuple[Transformation, ...] = ()

    def __len__(self) -> int:
        return len(self.support_x)

    @property
    def examples(self) -> int:
        """Number of examples in the batch, support and query: the unit of the budget."""
        return self.support_x.shape[0] * (self.support_x.shape[1] + self.query_x.shape[1])

    def __getitem__(self, tasks: slice) -> Episodes:
        return replace(
            self,
            support_x=self.support_x[tasks],
            support_y=self.support_y[tasks],
            query_x=self.query_x[tasks],
            query_y=self.query_y[tasks],
        )

    def to(self, device: torch.device | str) -> Episodes:
        """The same episodes on ``device``."""
        return replace(
            self,
            support_x=self.support_x.to(device),
            support_y=self.support_y.to(device),
            query_x=self.query_x.to(device),
            query_y=self.query_y.to(device),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Episodes:
        """Apply ``function`` (``[T, N, ...] -> [T, N, ...]``) to support and query in one call.

        What it returns is no longer what the dataset holds, so no augmentation is allowed on it.
        """
        split = self.support_x.shape[1]
        both = function(torch.cat([self.support_x, self.query_x], dim=1))
        return replace(self, support_x=both[:, :split], query_x=both[:, split:], augmentation=())

    def reorder_queries(self, rows: Tensor) -> Episodes:
        """The episodes with the queries ``rows`` ``[T, M]`` alone, in that order."""
        return replace(self, query_x=take(self.query_x, rows), query_y=take(self.query_y, rows))

    def by_appearance(self) -> tuple[Episodes, Tensor]:
        """Rename the classes of each task by order of first appearance in the support.

        Methods with one output or input slot per class (a per-class head, a one-hot label input)
        must not care how classes are called; under these names, any renaming of the classes gives
        the same episode.

        Returns:
            The renamed episodes, and ``slot`` ``[T, ways]``: the slot of each original class, so
            that ``logits.gather(-1, slot[:, None].expand_as(logits))`` restores the order. Query
            labels are renamed too. Classes that never appear take the remaining slots in order.
        """
        assert self.ways is not None, "regression tasks have no classes"
        t, s = self.support_y.shape
        position = torch.arange(s, device=self.support_y.device).expand(t, s)
        # classes without support: after all others, in their own order
        first = s + torch.arange(self.ways, device=position.device).repeat(t, 1)
        first = first.scatter_reduce(1, self.support_y, position, "amin")
        slot = first.argsort(dim=1).argsort(dim=1)
        renamed = replace(
            self,
            support_y=slot.gather(1, self.support_y),
            query_y=slot.gather(1, self.query_y),
        )
        return renamed, slot


def gather(table: Tensor, rows: Tensor) -> Tensor:
    """``table[rows]``: ``[M, ...]`` by rows of any shape.

    Copies whole rows; indexing goes number by number, which takes ten times as long for images.
    """
    return table.index_select(0, rows.flatten()).unflatten(0, rows.shape)


def take(x: Tensor, rows: Tensor) -> Tensor:
    """``x[t, rows[t]]`` for every task: ``[T, N, ...]`` by ``[T, M]`` to ``[T, M, ...]``."""
    return x[torch.arange(len(rows), device=rows.device)[:, None], rows]


def restore_names(logits: Tensor, slot: Tensor) -> Tensor:
    """Undo :meth:`Episodes.by_appearance` on ``logits`` ``[T, Q, ways]``."""
    return logits.gather(-1, slot[:, None, :].expand_as(logits))


def one_hot(labels: Tensor, ways: int, like: Tensor) -> Tensor:
    """``[..., ways]`` indicator of ``labels``, in the dtype of ``like``."""
    return F.one_hot(labels, ways).to(like.dtype)


def class_means(x: Tensor, y: Tensor, ways: int) -> Tensor:
    """Mean of each class: ``x`` ``[T, S, D]``, ``y`` ``[T, S]`` to ``[T, ways, D]``.

    ``c_k = (1/|S_k|) Σ_{(x,y)∈S_k} x`` (Snell et al. 2017, eq. 1).
    """
    indicator = one_hot(y, ways, x)  # [T, S, ways]
    counts = indicator.sum(1).clamp_min(1).unsqueeze(-1)
    return indicator.transpose(1, 2) @ x / counts


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of ``[..., K]`` logits and ``[...]`` labels; ``none`` keeps ``[...]``."""
    loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction=reduction)
    return loss.unflatten(0, labels.shape) if reduction == "none" else loss


def task_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean loss of each task, ``[T]``: cross-entropy for labels, squared error for regression."""
    if target.is_floating_point():
        return (output - target).square().flatten(1).mean(1)
    return cross_entropy(output, target, reduction="none").mean(1)
