"""Prototypes rectified by the queries (Liu, Song & Qin, ECCV 2020, 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.episodes import Episodes, class_means
from metabench.methods.parts.distances import cosine


def shifted(features: Episodes) -> Tensor:
    """Queries ``[T, Q, D]`` moved by the difference of the means of support and queries (eq. 8)."""
    support, query = features.support_x, features.query_x
    return query + support.mean(1, keepdim=True) - query.mean(1, keepdim=True)


def rectified(features: Episodes, query: Tensor, scale: float, confident: int) -> Tensor:
    """Means ``[T, K, D]`` of each class's support and of the queries most like it (eq. 6 and 7).

    A query is labelled by the basic prototype P_k (the class mean of the support) most like it, and
    of its queries a class takes the Z most similar. Among the examples of class k, x then weighs

        w_k(x) = exp(ε cos(x, P_k)) / Σ_{x'} exp(ε cos(x', P_k))

    Args:
        features: of the support, ``[T, S, D]``, and its labels.
        query: of the queries, shifted, ``[T, Q, D]``.
        scale: ε.
        confident: Z.
    """
    assert features.ways is not None
    support, labels, ways = features.support_x, features.support_y, features.ways
    basic = class_means(support, labels, ways)
    likeness = cosine(query, basic)
    claimed = F.one_hot(likeness.argmax(-1), ways).bool()  # [T, Q, K]
    closest = likeness.masked_fill(~claimed, -torch.inf).topk(min(confident, query.shape[1]), dim=1)
    taken = claimed & torch.zeros_like(claimed).scatter(1, closest.indices, True)
    members = torch.cat([F.one_hot(labels, ways).bool(), taken], dim=1)
    both = torch.cat([support, query], dim=1)
    weight = (scale * cosine(both, basic)).masked_fill(~members, -torch.inf).softmax(1)
    return weight.nan_to_num().mT @ both  # a class without support has no members
