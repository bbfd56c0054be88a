"""Open set: does a learner know what it does not know?

Confidence is the largest predicted probability. Examples of no class should get less of it than
queries of the episode's classes (Hendrycks & Gimpel 2017; Larson et al. 2019 for intents). The area
under the ROC curve is the share of (query, out-of-scope example) pairs that it orders rightly.

With more than two classes the order by confidence depends on the scale of the logits. So they are
divided by the temperature that was fitted on ``val``, as for calibration.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from metabench import rng
from metabench.data.formats import to_input
from metabench.episodes import Episodes
from metabench.learning.scoring import EpisodeSet
from metabench.methods.base import FeatureMethod, Method

CHUNK = 500


def confidence(
    method: Method, episodes: EpisodeSet, x: Tensor, temperature: float = math.nan
) -> Tensor:
    """Largest probability ``[N]`` that the learner gives to ``x`` ``[N, ...]``.

    All are queries of the first episode, in the order given. Logits are divided by ``temperature``;
    NaN: they stay.
    """
    table = episodes.table
    assert table is not None
    x = x.to(table.device)
    task, _ = episodes.ask(slice(0, 1))
    predict: Callable[[Episodes], Tensor] = method.predict
    if isinstance(method, FeatureMethod):
        predict = method.classify
        with torch.no_grad():
            x = torch.cat([method.embed(part[None])[0] for part in x.split(CHUNK)])
            task = replace(task, support_x=method.embed(task.support_x))
    labels = task.query_y.new_zeros(1, len(x))
    logits = predict(replace(task, query_x=x[None], query_y=labels))[0].detach()
    if not math.isnan(temperature):
        logits = logits.double() / temperature
    return logits.softmax(-1).amax(-1).cpu()


def auroc(
    method: Method, episodes: EpisodeSet, out_of_scope: Tensor, temperature: float = math.nan
) -> float:
    """AUROC of confidence: the first episode's queries against ``out_of_scope`` ``[N, ...]``.

    They are asked together, in a random order, so that neither a query's place nor the company it
    comes in says what it is.
    """
    assert episodes.table is not None
    task, _ = episodes.ask(slice(0, 1))
    inside = task.query_x[0]
    x = torch.cat([inside, to_input(out_of_scope).to(inside)])
    order = rng.generator(episodes.frozen.hash, "open set").permutation(len(x))
    with method.adapting(episodes.frozen.shots):
        scores = confidence(method, episodes, x[torch.from_numpy(order).to(x.device)], temperature)
    return float(roc_auc_score(order < len(inside), scores.numpy()))
