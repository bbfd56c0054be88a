"""FRN on a pretrained backbone (Wertheimer, Tang & Hariharan, CVPR 2021, section 3.6).

A part of the budget pretrains the backbone on all source classes, the rest meta-trains it in
episodes as ``frn`` does: the paper's recipe for ResNet-12 on miniImageNet and tieredImageNet.

Differs from the paper: pretraining is the source's shared recipe, a linear classifier, as for all
hybrids; the paper's classifies by reconstruction from learned matrices, one a class. The rest as
``frn``.
"""

from __future__ import annotations

from metabench.methods.parts.reconstruction import Reconstruction


class PretrainedFRN(Reconstruction):
    """``frn`` that starts from the shared backbone."""

    family = "hybrid"
    start = "pretrained"
