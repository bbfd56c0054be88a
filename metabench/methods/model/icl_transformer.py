"""In-context learning by a meta-trained transformer (Kirsch et al., GPICL, arXiv 2212.04458, 2022).

Learning is a forward pass: the labelled support is the context, and a query is one more token whose
label is unknown.

    support token: A f(x_i) + B onehot(y_i)      query token: A f(x*)
    logits = C · Transformer(tokens)_query

Support tokens attend to the support, a query to the support and itself, so no query sees another
and the order of the support is nothing. Labels are random slots from episode to episode, so the
network must read them from the context.

Differs from the paper: a label stands in the token of its own example (paper: in the next one) and
the support is no sequence: it sees all of itself, and only queries are predicted, not every item in
turn, since the protocol asks about queries that do not see each other. Inputs are the backbone's
layer-normalised features, learned with the transformer (paper: raw pixels under random
projections). Tasks are episodes of the source, without the paper's millions of random projections
and label permutations of one dataset: the source's classes are the budget. Classes take slots in
order of appearance. The transformer is small (2 layers of width 128).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, one_hot, restore_names
from metabench.methods.base import Task
from metabench.methods.parts.slots import SequenceMethod, to_slots
from metabench.methods.parts.transformer import TransformerSettings, transformer


class ICLTransformer(SequenceMethod):
    """A transformer classifies from labelled context."""

    paper = "Kirsch et al. 2022"
    Settings = TransformerSettings

    def __init__(self, backbone: Backbone, task: Task, settings: TransformerSettings):
        super().__init__(backbone, task, settings)
        width = settings.width
        self.norm = nn.LayerNorm(backbone.feature_dim)
        self.token = nn.Linear(backbone.feature_dim, width)
        self.label = nn.Linear(task.ways, width, bias=False)
        self.transformer = transformer(settings)
        self.output = nn.Linear(width, task.ways)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``."""
        episodes, slot = to_slots(features, self.task.ways)
        s, q = episodes.support_x.shape[1], episodes.query_x.shape[1]
        labels = self.label(one_hot(episodes.support_y, self.task.ways, episodes.support_x))
        support, queries = self.token(episodes.support_x) + labels, self.token(episodes.query_x)
        outputs = self.transformer(torch.cat([support, queries], dim=1), mask=hidden(s, q, slot))
        return restore_names(self.output(outputs[:, s:])[..., : slot.shape[1]], slot)


def hidden(support: int, queries: int, like: Tensor) -> Tensor:
    """``[S + Q, S + Q]``, True where the token of the row must not see that of the column."""
    position = torch.arange(support + queries, device=like.device)
    return (position >= support) & (position != position[:, None])
