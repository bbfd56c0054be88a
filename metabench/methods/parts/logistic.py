"""Logistic regression on features, for all tasks at once, by conjugate gradients.

    min_{W, b}  f = ½‖W‖² + C Σ_i CE(W x_i + b, y_i)

Polak & Ribière's (1969) directions, which start anew where they would not lead downhill; and

- where support examples are fewer than features, the solution lies in their span: ``W = A X``, and
  all that is needed of the features is the kernel ``X Xᵀ`` ``[S, S]``;
- where all K classes are as likely, the Hessian is ``I + (C/K) XᵀX``: factorised once, it turns
  gradients into steps;
- along a direction, with outputs of range R, ``|φ'''| ≤ R φ''`` (Bach 2010, self-concordance), so
  ``t = log(1 + R |φ'| / φ'') / R`` is never beyond the minimum: no step needs a second look.

Features are centred by the support's mean, which changes the intercept alone, and scaled by ``√C``,
after which C is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.episodes import Episodes, one_hot
from metabench.methods.parts import cholesky

LEFT = {torch.float32: 1e-5, torch.float64: 1e-9}
"""A task is solved when this share of its gradient is left, in the norm of the inverse Hessian."""


def logistic_head(
    support: Tensor, labels: Tensor, ways: int, c: float = 1.0, limit: int = 1000
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression with an intercept, which has no penalty.

    In the precision of the features. Each task stops when it is solved, whatever the others do.

    Args:
        support: ``[T, S, D]``.
        labels: ``[T, S]``.
        c: C, inverse penalty, as in scikit-learn.
        limit: steps, after which all stop.

    Returns:
        W ``[T, ways, D]`` and b ``[T, ways]``.
    """
    mean = support.mean(1, keepdim=True)
    x = c**0.5 * (support - mean)
    y = one_hot(labels, ways, x).mT.contiguous()  # [T, K, S]: softmax is slow on short rows
    size, in_span = x.shape[1], x.shape[1] <= x.shape[2]
    gram = x @ x.mT if in_span else x.mT @ x
    eye = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    if in_span:
        gram = gram + _unseen(gram) * eye
    step = -torch.cholesky_inverse(cholesky.factor(eye + gram / ways))

    weights = y.new_zeros(*y.shape[:2], gram.shape[-1])  # A, or W itself
    outputs, bias = torch.zeros_like(y), y.new_zeros(*y.shape[:2], 1)
    d, d_out, d_bias = weights.clone(), outputs.clone(), bias.clone()  # direction of the last step
    last, last_bias, last_norm = d, d_bias, bias[:, :1]  # gradient at its start
    enough = None
    for _ in range(limit):
        p = (outputs + bias).softmax(1)
        residual = p - y
        gradient = weights + residual if in_span else torch.baddbmm(weights, residual, x)
        gradient_bias = residual.sum(2, keepdim=True)
        z = gradient @ step
        z_out = z @ (gram if in_span else x.mT)
        z_bias = gradient_bias * (-ways / size)
        # inner products are those of W: of A X and z X, that is A·(z X Xᵀ)
        z_dual, d_dual = (z_out, d_out) if in_span else (z, d)
        norm = -_dot(gradient, z_dual) - _dot(gradient_bias, z_bias)
        if enough is None:
            rounding = y[0].numel() * torch.finfo(x.dtype).eps ** 2  # of the softmax, and no more
            enough = LEFT[x.dtype] ** 2 * norm + rounding
        active = norm > enough
        if not active.any():
            break
        before = _dot(last, z_dual) + _dot(last_bias, z_bias)
        ahead = _dot(gradient, d_dual) + _dot(gradient_bias, d_bias)
        beta = (norm + before) / last_norm
        beta = beta.where((beta > 0) & (beta * ahead < norm), 0)
        slope = beta * ahead - norm
        last, last_bias, last_norm = gradient, gradient_bias, norm
        d = torch.addcmul(z, beta, d)
        d_out, d_bias = torch.addcmul(z_out, beta, d_out), torch.addcmul(z_bias, beta, d_bias)

        change = d_out + d_bias
        expected = p * change
        mean_change = expected.sum(1, keepdim=True)
        spread = _dot(expected, change) - _dot(mean_change, mean_change)
        bend = _dot(d, d_out if in_span else d) + spread
        reach = change.amax((1, 2), keepdim=True) - change.amin((1, 2), keepdim=True)
        t = (torch.log1p(reach * -slope / bend) / reach).where(active & (reach > 0), 0)
        weights.addcmul_(t, d)
        outputs.addcmul_(t, d_out)
        bias.addcmul_(t, d_bias)
    w = c**0.5 * (weights @ x if in_span else weights)
    return w, (bias - w @ mean.mT)[..., 0]


def logistic(
    support: Tensor, labels: Tensor, query: Tensor, ways: int, c: float = 1.0, limit: int = 1000
) -> Tensor:
    """Logits ``[T, Q, ways]`` of queries ``[T, Q, D]`` by :func:`logistic_head`."""
    w, b = logistic_head(support, labels, ways, c, limit)
    return query @ w.mT + b[:, None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each task, ``[T, 1, 1]``."""
    return (a * b).sum((1, 2), keepdim=True)


def _unseen(gram: Tensor) -> Tensor:
    """``[T, 1, 1]``: a squared length that rounding hides, of a feature of each example's own.

    It leaves no combination of examples without features, whose part of A could grow unseen.
    """
    diagonal = gram.diagonal(dim1=1, dim2=2).mean(1)
    return 100 * torch.finfo(gram.dtype).eps * diagonal[:, None, None]


def fitted(features: Episodes, c: float) -> Tensor:
    """:func:`logistic` of the features of a support, at its queries: logits ``[T, Q, ways]``."""
    f, ways = features, features.ways
    assert ways is not None
    return logistic(f.support_x, f.support_y, f.query_x, ways, c)
