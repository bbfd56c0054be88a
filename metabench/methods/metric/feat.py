"""FEAT: few-shot embedding adaptation with a set-to-set transformer (Ye et al., CVPR 2020).

The prototypes of an episode attend to one another before queries are compared with them (eq. 3–6):

    {c̃_k} = {c_k + W_o Σ_j softmax_j((W_q c_k)·(W_k c_j)/√D) W_v c_j}
    p(y = k | x) ∝ exp(τ cos(f(x), c̃_k))

Differs from the paper: W_o starts at zero, so that meta-training starts from the pretrained
nearest-prototype classifier. Dropout and the layer normalisation of c̃ are left out, as the cosine
normalises already and a small budget has little to regularise. So is the auxiliary contrastive loss
on the adapted examples of all classes. Similarity is a cosine with learned scale; the authors' code
also has a squared distance over a fixed temperature. All of the network has one learning rate,
where the code gives the attention ten times the backbone's.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive
from metabench.config.search import Log
from metabench.episodes import Episodes, class_means
from metabench.methods.base import FeatureMethod, Settings, Task
from metabench.methods.parts.distances import cosine


class FEATSettings(Settings):
    """``scale``: where τ starts."""

    scale: Annotated[Positive, Log(1, 50)] = 10.0


class FEAT(FeatureMethod):
    """Attention without positions: permuting the classes permutes the adapted prototypes."""

    family = "metric"
    paper = "Ye et al. 2020"
    start = "pretrained"
    Settings = FEATSettings

    def __init__(self, backbone: Backbone, task: Task, settings: FEATSettings):
        super().__init__(backbone, task, settings)
        d = backbone.feature_dim
        self.query, self.key, self.value = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.out = nn.Linear(d, d, bias=False)
        nn.init.zeros_(self.out.weight)
        self.scale = nn.Parameter(torch.tensor(settings.scale))

    def adapt(self, prototypes: Tensor) -> Tensor:
        """``c̃``, ``[T, ways, D]``."""
        attended = F.scaled_dot_product_attention(
            self.query(prototypes), self.key(prototypes), self.value(prototypes)
        )
        return prototypes + self.out(attended)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled cosines to the adapted prototypes."""
        assert features.ways is not None
        prototypes = class_means(features.support_x, features.support_y, features.ways)
        return self.scale * cosine(features.query_x, self.adapt(prototypes))
