"""LaplacianShot (Ziko et al., ICML 2020): neighbouring queries should get the same label.

    E(Y) = Σ_q y_qᵀ a_q + (λ/2) Σ_{q,p} w(x_q, x_p) ‖y_q − y_p‖²,     a_qk = ‖f̃(x_q) − m_k‖²

(eq. 1–3), with m_k the class means and w one for the κ nearest neighbours. A concave bound is
minimised by the updates (eq. 10), each of which can only lower the energy:

    y_q ← softmax(−a_q + λ Σ_p w(x_q, x_p) y_p)
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from metabench.config.bounds import Count, NonNegative, Whole
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import squared_euclidean


class LaplacianShotSettings(Settings):
    """``regularisation``: λ; ``neighbours``: κ (paper: 3); ``steps``: updates (paper: 20)."""

    regularisation: Annotated[NonNegative, Log(0.05, 3), ADAPTS] = 0.7
    neighbours: Count = 3
    steps: Whole = 20


class LaplacianShot(CentredMethod):
    """Nearest class mean, smoothed over the graph of the queries."""

    family = "transductive"
    paper = "Ziko et al. 2020"
    transductive = True
    Settings = LaplacianShotSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: what goes into the last softmax."""
        assert features.ways is not None
        query, s = features.query_x, self.settings
        means = class_means(features.support_x, features.support_y, features.ways)
        unary = squared_euclidean(query, means)
        distance = squared_euclidean(query, query)
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # none is its own neighbour
        near = distance.topk(min(s.neighbours, query.shape[1] - 1), largest=False).indices
        graph = torch.zeros_like(unary @ unary.mT).scatter_(2, near, 1.0)  # [T, Q, Q]
        logits = -unary
        for _ in range(s.steps):
            logits = -unary + s.regularisation * graph @ logits.softmax(-1)
        return logits
