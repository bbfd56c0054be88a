"""R2-D2: differentiable closed-form solvers (Bertinetto et al., ICLR 2019).

The head of each task is a ridge regression to one-hot labels ``Y`` on the embedded support ``X``,
in Woodbury's form (eq. 4), and gradients go through its solution into the embedding:

    W(X, Y) = Xᵀ (X Xᵀ + λI)^{-1} Y         logits = α X_q W + β      (eq. 5)

λ (in log space), α and β are learned with the embedding. On regression ``Y`` are the targets; in
classification β adds the same to all logits, so it has no gradient and changes nothing.

Differs from the paper: the backbone is the profile's; the paper's has 96, 192, 384 and 512 channels
and passes on the outputs of its last two blocks. α starts at 10, since outputs of a regression to 0
and 1 lie near each other; where λ and α start is searched. Systems are solved in float64.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive
from metabench.config.search import Log
from metabench.episodes import Episodes, one_hot
from metabench.methods.base import FeatureMethod, Settings, Task
from metabench.methods.parts.ridge import ridge_weights


class R2D2Settings(Settings):
    """Where the learned head constants start.

    Attributes:
        penalty: λ.
        scale: α (classification; 1 for regression).
    """

    penalty: Annotated[Positive, Log(0.01, 100)] = 1.0
    scale: Annotated[Positive, Log(1, 50)] = 10.0


class R2D2(FeatureMethod):
    """Ridge-regression head on a learned embedding."""

    family = "optimisation"
    paper = "Bertinetto et al. 2019"
    kinds = frozenset({"image", "text", "vector", "regression"})
    Settings = R2D2Settings

    def __init__(self, backbone: Backbone, task: Task, settings: R2D2Settings):
        super().__init__(backbone, task, settings)
        scale = 1.0 if task.kind == "regression" else settings.scale
        self.log_penalty = nn.Parameter(torch.tensor(settings.penalty).log())
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``; regression: ``[T, Q, D]``."""
        y = features.support_y
        if features.ways is not None:
            y = one_hot(y, features.ways, features.support_x)
        weights = ridge_weights(features.support_x, y, self.log_penalty.exp())
        return self.scale * (features.query_x @ weights) + self.bias
