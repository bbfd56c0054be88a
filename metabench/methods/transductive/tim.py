"""TIM: transductive information maximisation (Boudiaf et al., NeurIPS 2020), by gradient descent.

A classifier of unit weights w_k, started at the class means, is fitted to support and queries
together (eq. 3), so that predictions are sharp for each query and spread over the classes:

    p_ik ∝ exp(−(τ/2) ‖f̃(x_i) − w_k‖²)
    min_W  λ CE(support) + α H(Y | X_query) − H(Ŷ_query)

The last term assumes that the queries are spread evenly over the classes, as they are here.

Differs from the paper: 100 steps of Adam of 1e-3 in place of 1000 of 1e-4, for the time that they
take; and features are centred by the mean of the source (CL2N) before they are normalised, as in
``simpleshot``, so that the two differ by the fit alone.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from metabench.config.bounds import NonNegative, Positive, Whole
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means, task_loss
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import squared_euclidean


class TIMSettings(Settings):
    """Settings of the fit.

    Attributes:
        temperature: τ.
        support: λ, weight of the support's cross-entropy.
        conditional: α, weight of the queries' own entropy.
        head_lr, steps: of Adam on W.
    """

    temperature: Annotated[Positive, Log(1, 50), ADAPTS] = 15.0
    support: Annotated[NonNegative, Log(0.03, 3), ADAPTS] = 0.1
    conditional: Annotated[NonNegative, Log(0.03, 3), ADAPTS] = 0.1
    head_lr: Annotated[Positive, Log(3e-4, 0.03), ADAPTS] = 1e-3
    steps: Whole = 100


class TIM(CentredMethod):
    """Weights of the classes that the support agrees with and the queries are sure of."""

    family = "transductive"
    paper = "Boudiaf et al. 2020"
    transductive = True
    Settings = TIMSettings

    def classify(self, features: Episodes) -> Tensor:
        """Fit W, then predict the queries."""
        assert features.ways is not None
        s = self.settings
        support, query, labels = features.support_x, features.query_x, features.support_y

        def logits(x: Tensor) -> Tensor:
            return -s.temperature / 2 * squared_euclidean(x, weights)

        weights = class_means(support, labels, features.ways).detach().requires_grad_()
        adam = torch.optim.Adam([weights], lr=s.head_lr)  # element by element: tasks stay apart
        with torch.enable_grad():
            for _ in range(s.steps):
                log_p = logits(query).log_softmax(-1)  # [T, Q, K]
                conditional = -(log_p.exp() * log_p).sum(-1).mean(-1)
                marginal = log_p.exp().mean(1)
                entropy = -(marginal * marginal.clamp_min(1e-12).log()).sum(-1)
                loss = s.support * task_loss(logits(support), labels)
                adam.zero_grad()
                (loss + s.conditional * conditional - entropy).sum().backward(inputs=[weights])
                adam.step()
        return logits(query).detach()
