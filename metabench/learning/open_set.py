"""Open set: does a learner know what it does not know?

Confidence is the largest predicted probability. Examples of no class should get less of it than
queries of the episode's classes (Hendrycks & Gimpel 2017; Larson et al. 2019 for intents). The area
under the ROC curve is the share of (query, out-of-scope example) pairs that it orders rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from metabench.data.formats import to_input
from metabench.episodes import Episodes
from metabench.learning.scoring import EpisodeSet
from metabench.methods.base import FeatureMethod, Method

CHUNK = 500


def confidence(method: Method, episodes: EpisodeSet, x: Tensor) -> Tensor:
    """Largest probability ``[N]`` that the learner of the first episode gives to ``x`` ``[N, …]``.

    Each example is asked as a query of its own, in chunks.
    """
    table = episodes.table
    assert table is not None
    x = to_input(x.to(table.device))
    task = episodes.frozen.episodes(slice(0, 1), table)
    predict: Callable[[Episodes], Tensor] = method.predict
    if isinstance(method, FeatureMethod):
        predict = method.classify
        with torch.no_grad():
            x = torch.cat([method.embed(part[None])[0] for part in x.split(CHUNK)])
            task = replace(task, support_x=method.embed(task.support_x))
    labels = task.query_y.new_zeros(1, len(x))
    logits = predict(replace(task, query_x=x[None], query_y=labels))[0].detach()
    return logits.softmax(-1).amax(-1).cpu()


def auroc(method: Method, episodes: EpisodeSet, out_of_scope: Tensor) -> float:
    """AUROC of confidence: the first episode's queries against ``out_of_scope`` ``[N, ...]``."""
    assert episodes.table is not None
    inside = episodes.frozen.episodes(slice(0, 1), episodes.table).query_x[0]
    scores = [confidence(method, episodes, x) for x in (inside, out_of_scope)]
    truth = torch.cat([torch.full((len(s),), i == 0) for i, s in enumerate(scores)])
    return float(roc_auc_score(truth.numpy(), torch.cat(scores).numpy()))
