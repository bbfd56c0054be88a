"""Attentive Neural Processes (Kim et al., ICLR 2019), the deterministic path.

As a conditional neural process, but each query attends to the support instead of getting its mean
(paper, 3.2; multi-head attention of Vaswani et al. 2017):

    r_i = h(x_i, y_i)      r*(x*) = Attention(x*, {x_i}, {r_i})      p(y* | x*) = g(x*, r*(x*))

Differs from the paper: its latent path (z, and with it the KL term) is left out, as a prediction
must repeat; so is self-attention within the support, for a small budget. Queries and keys share one
linear projection (code: one network, then one projection for each head), so that an example attends
to its likes from the start; values are h's output, split among the heads, without projections
before and after. The paper has regression alone: for classes, h reads the label's slot as one-hot
and g gives the slots' logits. x is the backbone's layer-normalised feature, the loss is that of the
queries alone, and layers are ``width`` wide and two deep, as in ``cnp``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.methods.base import Task
from metabench.methods.parts.attention import AttentionSettings
from metabench.methods.parts.neural_process import (
    NeuralProcess,
    NeuralProcessSettings,
    perceptron,
)


class ANPSettings(NeuralProcessSettings, AttentionSettings):
    """As of a conditional neural process; ``heads``: of the attention."""


class ANP(NeuralProcess):
    """Every query has a representation of the support of its own."""

    paper = "Kim et al. 2019"
    Settings = ANPSettings

    def __init__(self, backbone: Backbone, task: Task, settings: ANPSettings):
        super().__init__(backbone, task, settings)
        width, dim = settings.width, backbone.feature_dim
        self.h = perceptron(dim + self.label_dim, width, width)
        self.address = nn.Linear(dim, width)
        self.g = self.decoder(width)

    def outputs(self, support_x: Tensor, labels: Tensor, query_x: Tensor) -> Tensor:
        """``g(x*, r*(x*))``."""
        values = self.h(torch.cat([support_x, labels], dim=-1))
        query, key, value = (
            v.unflatten(-1, (self.settings.heads, -1)).transpose(1, 2)  # [T, heads, N, ·]
            for v in (self.address(query_x), self.address(support_x), values)
        )
        r = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.g(torch.cat([query_x, r], dim=-1))
