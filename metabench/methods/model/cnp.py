"""Conditional Neural Processes (Garnelo et al., ICML 2018).

Encode every labelled example, average, decode each query (eq. 2-4):

    r_i = h(x_i, y_i)      r = (1/S) Σ_i r_i      p(y* | x*) = g(x*, r)

For classification the average is taken within each class and the classes' averages are concatenated
(paper, 4.3), in the order of their label slots.

Differs from the paper: x is the backbone's layer-normalised feature, as for every method here; the
paper has plain inputs in regression and a convolutional h for Omniglot. The deviation is 0.1 + 0.9
softplus, as in the authors' code. The loss is that of the queries alone, while the paper also
predicts the points that it conditions on: here only queries are scored. A class without support has
r_k = 0. Layers are ``width`` wide and two deep, for a small budget.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.methods.base import Task
from metabench.methods.parts.neural_process import (
    NeuralProcess,
    NeuralProcessSettings,
    perceptron,
)


class CNP(NeuralProcess):
    """A mean over the support is all that a query gets to know of it."""

    paper = "Garnelo et al. 2018"

    def __init__(self, backbone: Backbone, task: Task, settings: NeuralProcessSettings):
        super().__init__(backbone, task, settings)
        width, dim = settings.width, backbone.feature_dim
        self.h = perceptron(dim + task.outputs, width, width)
        self.g = self.decoder(width * (task.ways or 1))

    def outputs(self, support_x: Tensor, labels: Tensor, query_x: Tensor) -> Tensor:
        """``g(x*, r)``."""
        if self.task.outputs:
            r = self.h(torch.cat([support_x, labels], dim=-1)).mean(1)
        else:
            counts = labels.sum(1).clamp_min(1).unsqueeze(-1)
            r = (labels.mT @ self.h(support_x) / counts).flatten(1)  # [T, ways * width]
        return self.g(torch.cat([query_x, r[:, None].expand(-1, query_x.shape[1], -1)], dim=-1))
