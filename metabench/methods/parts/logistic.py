"""Logistic regression on features, for all tasks at once, in the support × support form.

A task has fewer support examples than features, so the solution is sought in their span: the kernel
``X Xᵀ`` ``[S, S]`` is all that is ever factorised. Computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.episodes import Episodes, one_hot
from metabench.methods.parts import cholesky


def centred_kernels(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels ``[T, S, S]`` and ``[T, Q, S]`` of features centred by the support mean.

    Centring is what an intercept without penalty amounts to. In float64.
    """
    support, query = support.double(), query.double()
    mean = support.mean(1, keepdim=True)
    s, q = support - mean, query - mean
    return s @ s.transpose(1, 2), q @ s.transpose(1, 2)


def dual(
    kernel: Tensor, labels: Tensor, ways: int, c: float = 1.0, steps: int = 250
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression with intercept, ``½‖W‖² + C Σ_i CE(W x_i + b, y_i)``.

    Böhning (1992): the Hessian of the softmax is at most ½(I − 11ᵀ/K), so each step of
    majorise-minimise is a ridge regression on ``f − 2(p − y)`` with penalty 2/C, whose matrix never
    changes: one factorisation a task, then products, with Nesterov's momentum. The number of steps
    is fixed, so that no task's logits depend on another's.

    Args:
        kernel: ``[T, S, S]``, of the centred support.
        labels: ``[T, S]``.
        c: inverse penalty, as in scikit-learn.

    Returns:
        A ``[T, S, ways]`` and b ``[T, 1, ways]``: logits are ``k(x, X) A + b``, so ``W = Aᵀ X``.
    """
    y = one_hot(labels, ways, kernel)
    eye = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
    inverse = torch.cholesky_inverse(cholesky.factor(kernel + 2 / c * eye))
    weights = torch.zeros_like(y)
    bias = y.new_zeros(y.shape[0], 1, ways)
    ahead_w, ahead_b, momentum = weights, bias, 1.0
    for _ in range(steps):
        outputs = kernel @ ahead_w + ahead_b
        working = outputs - 2 * (outputs.softmax(-1) - y)
        new_b = working.mean(1, keepdim=True)
        new_w = inverse @ (working - new_b)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        push = (momentum - 1) / following
        ahead_w, ahead_b = new_w + push * (new_w - weights), new_b + push * (new_b - bias)
        weights, bias, momentum = new_w, new_b, following
    return weights, bias


def logistic(
    support: Tensor, labels: Tensor, query: Tensor, ways: int, c: float = 1.0, steps: int = 250
) -> Tensor:
    """Logits ``[T, Q, ways]`` of a logistic regression (:func:`dual`), in the dtype of ``query``.

    Args:
        support: ``[T, S, D]``.
        labels: ``[T, S]``.
        query: ``[T, Q, D]``.
        c: inverse penalty, as in scikit-learn.
    """
    kernel, cross = centred_kernels(support, query)
    weights, bias = dual(kernel, labels, ways, c, steps)
    return (cross @ weights + bias).to(query.dtype)


def logistic_head(support: Tensor, labels: Tensor, ways: int, c: float) -> tuple[Tensor, Tensor]:
    """W ``[T, ways, D]`` and b ``[T, ways]`` of the same regression, by its arguments."""
    mean = support.double().mean(1, keepdim=True)
    x = support - mean
    weights, bias = dual(x @ x.mT, labels, ways, c)
    w = weights.mT @ x
    return w.to(support.dtype), (bias - mean @ w.mT)[:, 0].to(support.dtype)


def fitted(features: Episodes, c: float) -> Tensor:
    """:func:`logistic` of the features of a support, at its queries: logits ``[T, Q, ways]``."""
    f, ways = features, features.ways
    assert ways is not None
    return logistic(f.support_x, f.support_y, f.query_x, ways, c)
