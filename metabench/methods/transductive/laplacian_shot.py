"""LaplacianShot (Ziko et al., ICML 2020): neighbouring queries should get the same label.

    E(Y) = Σ_q y_qᵀ a_q + (λ/4) Σ_{q,p} w_qp ‖y_q − y_p‖²,     a_qk = ‖x_q − m_k‖²

over one-hot y_q (eq. 1–3). w_qp is one where p is among the κ nearest neighbours of q. Queries are
shifted to the support and the m_k are rectified by them first, as in ``bd_cspn``. With soft y_q and
their negative entropy the energy is, but for a constant,

    E(Y) = Σ_q y_qᵀ log y_q + Σ_q y_qᵀ a_q − (λ/2) Σ_{q,p} w_qp y_qᵀ y_p

and is lowered by the updates (eq. 10) ``y_q ← softmax(−a_q + λ Σ_p w_qp y_p)``, of all q at once.

Differs from the paper: w is replaced by ``(w + wᵀ)/2``. E is the same, and the updates now follow
it: no update raises E if ``−λ`` times the least eigenvalue of w is at most 2. With w of one
direction, as in the authors' code, E may rise at any λ. Weights in the m_k are those of Liu et al.;
the authors' code does not divide by their sum, and so draws the prototypes of small margins to 0.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from metabench.config.bounds import Count, NonNegative, Positive, Whole
from metabench.config.search import ADAPTS, Choice, Linear, Log
from metabench.episodes import Episodes
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import squared_euclidean
from metabench.methods.parts.rectification import rectified, shifted


class LaplacianShotSettings(Settings):
    """Settings, from the authors' code.

    Attributes:
        regularisation: λ (theirs is chosen on ``val`` from 0.1 to 1.5, for each number of shots).
        neighbours: κ; theirs is 3 and counts the query itself.
        steps: updates.
        scale: ε of the rectification.
        confident: Z of the rectification; theirs takes every query.
    """

    regularisation: Annotated[NonNegative, Linear(0, 1.5), ADAPTS] = 0.7
    neighbours: Annotated[Count, Choice(1, 2, 3, 5, 8), ADAPTS] = 2
    steps: Whole = 20
    scale: Annotated[Positive, Log(1, 50), ADAPTS] = 10.0
    confident: Annotated[Count, Choice(1, 2, 4, 8, 15, 30), ADAPTS] = 30


class LaplacianShot(CentredMethod):
    """Nearest rectified prototype, smoothed over the graph of the queries."""

    family = "transductive"
    paper = "Ziko et al. 2020"
    transductive = True
    Settings = LaplacianShotSettings

    def graph(self, query: Tensor) -> Tensor:
        """w ``[T, Q, Q]``, symmetric."""
        distance = squared_euclidean(query, query)
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # none is its own neighbour
        count = min(self.settings.neighbours, query.shape[1])
        farthest = distance.topk(count, largest=False).values[..., -1:]
        near = distance <= farthest + 1e-5  # whatever the order of queries that are equally near
        directed = (near & distance.isfinite()).to(distance)
        return (directed + directed.mT) / 2

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: what goes into the last softmax."""
        query, s = shifted(features), self.settings
        unary = squared_euclidean(query, rectified(features, query, s.scale, s.confident))
        logits, graph = -unary, self.graph(query)
        for _ in range(s.steps):
            logits = -unary + s.regularisation * graph @ logits.softmax(-1)
        return logits
