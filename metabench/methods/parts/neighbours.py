"""A vote of the nearest support examples, batched over tasks."""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes, one_hot
from metabench.methods.parts.distances import squared_euclidean


def vote(features: Episodes, k: int) -> Tensor:
    """``p(y = k | x) ∝ Σ_{i ∈ N(x), y_i = k} 1 / ‖x − x_i‖`` over the ``k`` nearest of the support.

    Args:
        features: support ``[T, S, D]`` and queries ``[T, Q, D]`` of classification tasks.
        k: neighbours; the whole support where it is smaller.

    Returns:
        ``[T, Q, ways]``: log of the share of the vote, of which each class keeps a hundredth of the
        even one, so that likelihoods are finite.
    """
    assert features.ways is not None
    distance = squared_euclidean(features.query_x, features.support_x).clamp_min(1e-12).sqrt()
    near, index = distance.topk(min(k, distance.shape[-1]), dim=-1, largest=False)  # [T, Q, k]
    labels = features.support_y[:, None].expand(-1, distance.shape[1], -1).gather(2, index)
    member = one_hot(labels, features.ways, distance)  # [T, Q, k, ways]
    votes = (member / near[..., None]).sum(2)
    share = votes / votes.sum(-1, keepdim=True)
    return (share + 0.01 / features.ways).log()
