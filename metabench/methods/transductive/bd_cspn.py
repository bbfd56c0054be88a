"""BD-CSPN: prototype rectification (Liu, Song & Qin, ECCV 2020).

Few shots give a biased mean. Queries are first shifted by the difference of the means of support
and queries (cross-class bias, eq. 8). Then each is labelled by its nearest basic prototype, and the
Z most similar ones enter the mean of that class (intra-class bias, eq. 6–7):

    x' = x + ξ,   ξ = mean(support) − mean(query)
    P'_k = Σ_x w_k(x) x,   w_k(x) = softmax over these x of ε cos(x, P_k)

over the support of class k and the Z queries. Queries are classified by cosine to the P'_k.

Differs from the paper: the backbone was pretrained with a linear classifier, not with one of
cosines, since all methods on frozen features share it; and features are centred by the mean of the
source (CL2N), as in ``simpleshot``, so that the two differ by the rectification alone.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from metabench.config.bounds import Count, Positive
from metabench.config.search import ADAPTS, Choice, Log
from metabench.episodes import Episodes
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import cosine
from metabench.methods.parts.rectification import rectified, shifted


class BDCSPNSettings(Settings):
    """``scale``: ε, also of the logits (paper: 10); ``confident``: Z (paper: 8)."""

    scale: Annotated[Positive, Log(1, 50), ADAPTS] = 10.0
    confident: Annotated[Count, Choice(1, 2, 4, 8, 15, 30), ADAPTS] = 8


class BDCSPN(CentredMethod):
    """One closed-form update of the prototypes."""

    family = "transductive"
    paper = "Liu et al. 2020"
    transductive = True
    Settings = BDCSPNSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: scaled cosines to the rectified prototypes."""
        query, s = shifted(features), self.settings
        return s.scale * cosine(query, rectified(features, query, s.scale, s.confident))
