"""Nearest neighbour among texts: the class of the support text that shares most rare words.

``score(q, k) = max_{i: y_i = k} cos(tf-idf(q), tf-idf(x_i))``: what ``nearest_neighbour`` is for
images, where distances between raw inputs mean something.

Differs from the paper: neighbours are found by the cosine of tf-idf vectors, as texts have no
distance of their own, and ten times the cosine is a class's logit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.episodes import Episodes
from metabench.methods.base import Method
from metabench.methods.parts.bag import tfidf

SCALE = 10.0


class TfidfNeighbour(Method):
    """Tasks go one by one: each has a vocabulary of its own."""

    family = "control"
    paper = "Cover & Hart 1967"
    source_training = "none"
    kinds = frozenset({"text"})

    def predict(self, episodes: Episodes) -> Tensor:
        """The largest similarity to each class, ``[T, Q, ways]``."""
        assert episodes.ways is not None
        like, logits = next(self.parameters()), []
        for t in range(len(episodes)):
            x, query = tfidf(episodes.support_x[t], episodes.query_x[t])
            similarity = torch.from_numpy((query @ x.T).toarray()).to(like)  # [Q, S]
            labels = episodes.support_y[t].expand_as(similarity)
            least = similarity.new_full((len(similarity), episodes.ways), -1.0)
            logits.append(least.scatter_reduce(1, labels, similarity, "amax"))
        return SCALE * torch.stack(logits)
