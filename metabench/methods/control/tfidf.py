"""TF-IDF and logistic regression: the control that knows no word but those of the support.

``tf-idf(t, d) = (1 + ln tf) · (ln((1 + n) / (1 + df)) + 1)``, unit length (Salton & Buckley 1988),
then ``min_W ½‖W‖² + C Σ CE(W x_i + b, y_i)`` by scikit-learn.

Differs from the paper: the paper weights terms for retrieval; a classifier is added here. Pairs of
neighbouring pieces are terms, too, and idf is smoothed by one, as is scikit-learn's default, so
that a term in every text keeps some weight.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metabench.config.bounds import Positive
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes
from metabench.methods.base import Method, Settings
from metabench.methods.parts.bag import tfidf


class TfidfSettings(Settings):
    """``c``: inverse penalty."""

    c: Annotated[Positive, Log(0.1, 100), ADAPTS] = 10.0


class Tfidf(Method):
    """Tasks go one by one: each has a vocabulary of its own."""

    family = "control"
    paper = "Salton & Buckley 1988"
    source_training = "none"
    kinds = frozenset({"text"})
    Settings = TfidfSettings

    def predict(self, episodes: Episodes) -> Tensor:
        """Log-probabilities ``[T, Q, ways]``; a class without support has the least."""
        assert episodes.ways is not None
        like = next(self.parameters())
        logits = like.new_full((*episodes.query_y.shape, episodes.ways), -50.0)
        for t in range(len(episodes)):
            x, query = tfidf(episodes.support_x[t], episodes.query_x[t])
            y = episodes.support_y[t].numpy(force=True)
            classes = np.unique(y)
            if len(classes) == 1:
                logits[t, :, int(classes[0])] = 0
                continue
            order = np.argsort(y, kind="stable")
            fitted = LogisticRegression(C=self.settings.c, max_iter=2000, tol=1e-8)
            with warnings.catch_warnings():  # one shot of each class is no regression
                warnings.filterwarnings("ignore", "The number of unique classes")
                fitted.fit(x[order], y[order])
            log = torch.from_numpy(fitted.predict_log_proba(query)).to(logits)
            logits[t][:, torch.from_numpy(classes)] = log.clamp_min(-50.0)
        return logits
