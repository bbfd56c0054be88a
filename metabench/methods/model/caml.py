"""CAML: context-aware meta-learning (Fifty et al., ICLR 2024), in context, on frozen features.

The encoder f is pretrained and stays. The support and one query are a sequence; each token is a
feature beside a code of its label, or of not knowing it, and all tokens see one another:

    token_i = [A f(x_i), s φ_{y_i}]     token* = [A f(x*), u]
    logits = C · Transformer(token*, token_1, …, token_S)*

so that the features of the support are read for this query (``icl_transformer`` reads them once for
all queries). The codes φ_k are an ELMES, an equal-length maximally equiangular set: the corners of
a simplex, of which no two are nearer than others, so that no class is preferred (section 4):

    Φ = √(K/(K−1)) (I − 11ᵀ/K)        ‖φ_k‖ = 1        ⟨φ_j, φ_k⟩ = −1/(K−1)

f has the source's pretraining, A, s, u, C and the transformer are meta-trained on its episodes.

Differs from the paper: the encoder and the episodes are the source's (paper: CLIP, and one large
mixture of image tasks), as all methods here have the same data. Features are layer-normalised and
pass A, which makes tokens of one width from any backbone; with CLIP, the paper takes them as they
are. Codes have as many dimensions as there are classes (code: 256, under a random rotation, which
the projections of attention absorb), and s starts where a code is as long as a feature (code: 1),
since the labels of so short a code are found late. Classes take codes in order of appearance. The
transformer is small (2 layers of width 128; paper: 24 of 1024), since a source has few classes to
train it on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, restore_names
from metabench.files import InputError
from metabench.methods.base import Task
from metabench.methods.parts.slots import SequenceMethod, to_slots
from metabench.methods.parts.transformer import TransformerSettings, transformer

TOKENS = 2**17
"""In one pass of the transformer; every query has a sequence of its own."""


class CAML(SequenceMethod):
    """A transformer reads the support together with each query.

    Attributes:
        codes: ``[ways, ways]``, Φ.
        unknown: ``[ways]``, u, in the place of a query's code.
        scale: s.
    """

    paper = "Fifty et al. 2024"
    start = "pretrained"
    Settings = TransformerSettings
    codes: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: TransformerSettings):
        super().__init__(backbone, task, settings)
        width, ways = settings.width, task.ways
        if width <= ways:
            raise InputError(
                f"width: a token of {width} has no room for a feature beside the code of one of "
                f"{ways} classes, which is as long as there are classes. Raise width above {ways}."
            )
        backbone.requires_grad_(False)
        self.norm = nn.LayerNorm(backbone.feature_dim)
        self.token = nn.Linear(backbone.feature_dim, width - ways)
        self.register_buffer("codes", equiangular(ways))
        self.unknown = nn.Parameter(torch.zeros(ways))
        # A f of a layer-normalised f has components of variance 1/3, as nn.Linear draws A
        self.scale = nn.Parameter(torch.tensor(((width - ways) / 3) ** 0.5))
        self.transformer = transformer(settings)
        self.output = nn.Linear(width, ways)

    def train(self, mode: bool = True) -> CAML:
        """The encoder always is in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``."""
        episodes, slot = to_slots(features, self.task.ways)
        labels = self.scale * self.codes[episodes.support_y]
        support = torch.cat([self.token(episodes.support_x), labels], dim=-1)  # [T, S, width]
        query = self.token(episodes.query_x)
        query = torch.cat([query, self.unknown.expand(*query.shape[:2], -1)], dim=-1)
        size = max(1, TOKENS // (len(support) * (1 + support.shape[1])))
        logits = torch.cat([self.answer(part, support) for part in query.split(size, 1)], dim=1)
        return restore_names(logits[..., : slot.shape[1]], slot)

    def answer(self, query: Tensor, support: Tensor) -> Tensor:
        """Logits ``[T, Q, slots]`` of tokens ``[T, Q, width]``, each in a sequence of its own."""
        context = support[:, None].expand(-1, query.shape[1], -1, -1)
        sequences = torch.cat([query[:, :, None], context], dim=2)  # [T, Q, 1 + S, width]
        outputs = self.transformer(sequences.flatten(0, 1))[:, 0]
        return self.output(outputs).unflatten(0, query.shape[:2])


def equiangular(classes: int) -> Tensor:
    """``√(K/(K−1)) (I − 11ᵀ/K)``: the K corners of a simplex as rows ``[K, K]``."""
    return (classes / (classes - 1)) ** 0.5 * (torch.eye(classes) - 1 / classes)
