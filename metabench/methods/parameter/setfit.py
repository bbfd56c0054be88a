"""SetFit (Tunstall et al. 2022): contrastive tuning on pairs of the support, then a logistic head.

Pairs of support texts, as many of one class as of two, are drawn together or apart:

    L = (1/P) Σ_{pairs} (cos(f_θ(x_i), f_θ(x_j)) − [y_i = y_j])²

then ``min_W ½‖W‖² + C Σ CE(W f_θ(x_i) + b, y_i)`` on the tuned, fixed features.

Differs from the paper: each of the ``steps`` batches draws its pairs anew; the paper draws a fixed
set of pairs and goes through it once. A text that is alone in its class is paired with itself, as
at one shot there is no other. The embeddings stay, as in ``lm_fine_tune``. C is 10 and not
scikit-learn's 1, since features of unit length need larger weights.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.bounds import Count, Positive
from metabench.config.search import ADAPTS, Log
from metabench.methods.parts.language_tuning import LanguageTuning, LanguageTuningSettings
from metabench.methods.parts.logistic import logistic


class SetFitSettings(LanguageTuningSettings):
    """``chunk``: pairs a step. ``c``: inverse penalty of the head."""

    chunk: Annotated[Count, Field(ge=2)] = 8
    c: Annotated[Positive, Log(0.1, 100), ADAPTS] = 10.0


class SetFit(LanguageTuning):
    """The encoder learns from pairs, of which even few examples give many."""

    paper = "Tunstall et al. 2022"
    Settings = SetFitSettings

    def initial(self) -> dict[str, Tensor]:
        """θ: all weights of the encoder's blocks."""
        return self.encoder()

    def pairs(self, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Support rows ``[P]`` of the first and of the second texts of a step's pairs.

        Half the pairs are of one class: a text with another one of its class, or with itself where
        it is the only one. The others are of two classes.
        """
        draw = self.generator("pairs", step)
        first = torch.randint(len(y), (self.settings.chunk,), generator=draw)
        score = torch.rand(len(first), len(y), generator=draw).to(y.device)
        labels, same = y[first], torch.arange(len(first)) < len(first) // 2
        alike = labels[:, None] == y
        itself = torch.zeros_like(score).scatter_(1, first[:, None].to(y.device), 0.5)
        wanted = alike == same[:, None].to(y.device)  # allowed partners score above all others
        return first, (score + wanted * 2 - itself * 2 * alike).argmax(1)

    def predict_task(self, x: Tensor, y: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits ``[Q, ways]`` of one task."""
        learned = {n: w.detach().clone() for n, w in self.initial().items()}

        def loss(step: int) -> Tensor:
            first, second = self.pairs(y, step)
            rows, place = torch.cat([first.to(y.device), second]).unique(return_inverse=True)
            features = self.embed(x[rows], learned)
            one, two = features[place].chunk(2)
            target = (y[first] == y[second]).to(features.dtype)
            return ((one * two).sum(-1) - target).square().mean()

        self.descend(loss, learned, {})
        with torch.no_grad():
            support, queries = self.embed(x, learned), self.embed(query, learned)
        return logistic(support[None], y[None], queries[None], ways, self.settings.c)[0]
