"""BD-CSPN: prototype rectification (Liu, Song & Qin, ECCV 2020).

Few shots give a biased mean. Queries are first shifted by the difference of the means of support
and queries (cross-class bias, eq. 6), then every example, weighted by how much it is believed to
belong to a class, enters that class's mean (intra-class bias, eq. 7–8):

    x' = x + ξ,   ξ = mean(support) − mean(query)
    P'_k = Σ_{x' ∈ S_k ∪ Q} w_k(x') x' / Σ w_k(x'),     w_k(x') = softmax_k(ε cos(x', P_k))

with weight one for the support's own classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means, one_hot
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import cosine


class BDCSPNSettings(Settings):
    """``scale``: ε, also that of the logits (paper: 10)."""

    scale: Annotated[Positive, Log(1, 50), ADAPTS] = 10.0


class BDCSPN(CentredMethod):
    """One closed-form update of the prototypes."""

    family = "transductive"
    paper = "Liu et al. 2020"
    transductive = True
    Settings = BDCSPNSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled cosines to the rectified prototypes."""
        assert features.ways is not None
        support, query, scale = features.support_x, features.query_x, self.settings.scale
        query = query + support.mean(1, keepdim=True) - query.mean(1, keepdim=True)
        basic = class_means(support, features.support_y, features.ways)
        believed = (scale * cosine(query, basic)).softmax(-1)  # [T, Q, K]
        known = one_hot(features.support_y, features.ways, support)  # [T, S, K]
        weight = torch.cat([known, believed], dim=1)
        both = F.normalize(torch.cat([support, query], dim=1), dim=-1)
        rectified = (weight / weight.sum(1, keepdim=True)).mT @ both
        return scale * cosine(query, rectified)
