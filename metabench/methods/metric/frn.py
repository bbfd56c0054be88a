"""FRN: feature map reconstruction networks (Wertheimer, Tang & Hariharan, CVPR 2021).

A query belongs to the class whose support can rebuild its feature map. With S_k the class's local
features (|S_k|·P rows) and X the query's (P rows), ridge regression has a closed form (eq. 5–8):

    X̄_k = ρ X S_kᵀ (S_k S_kᵀ + λI)⁻¹ S_k = ρ X (S_kᵀS_k + λI)⁻¹ S_kᵀS_k
    logit_k = −γ ‖X − X̄_k‖² / P,      λ = (|S_k| P / C) e^α,   ρ = e^β

α, β and γ are learned. An auxiliary loss asks that classes span different directions, with Ŝ the
supports of all classes divided by their common norm:

    L_aux = w Σ_{i < j} ‖Ŝ_i Ŝ_jᵀ‖²

As in the authors' code, maps are divided by √C on ResNet-12 (C = 640), and taken as they are on
other backbones: those of Conv4, divided, leave logits too alike to learn much from.

Differs from the paper: Ŝ is normalised as in the code; the paper's unit rows make L_aux some
thousand times the cross-entropy at its w of 0.03. Where γ starts is searched (paper: 1). Conv4's
maps are those before its last pooling, so that 28×28 images leave 3×3 positions and not one; at 84
px that is 10×10 (paper: 5×5). Pretraining, which the paper has for ResNet-12 alone, is the method
``frn_pretrained``. Shots of training episodes are the profile's (paper: 5, for tests at 1 and 5).
"""

from __future__ import annotations

from metabench.methods.parts.reconstruction import Reconstruction


class FRN(Reconstruction):
    """Backbone and head are trained together, from random weights."""

    family = "metric"
