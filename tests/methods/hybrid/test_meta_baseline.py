"""Meta-Baseline: scaled cosine to class means, against numpy."""

from __future__ import annotations

import numpy as np
import torch

from metabench.methods.hybrid.meta_baseline import MetaBaseline, MetaBaselineSettings
from tests.methods.small import WAYS, build, close, episodes, gradients, numeric_gradients


def test_logits_are_scaled_cosines_to_the_class_means():
    method, batch = build(MetaBaseline, MetaBaselineSettings(scale=4.0)), episodes(support=8)
    assert method.start == "pretrained"
    logits, embedded = method.predict(batch).detach(), batch.map(method.backbone)
    for t in range(len(batch)):
        x, q = (v[t].detach().numpy() for v in (embedded.support_x, embedded.query_x))
        y = batch.support_y[t].numpy()
        for k in range(WAYS):
            c = x[y == k].mean(0) if (y == k).any() else np.zeros(x.shape[1])
            size = np.linalg.norm(q, axis=1) * max(np.linalg.norm(c), 1e-12)
            np.testing.assert_allclose(logits[t, :, k], 4 * (q @ c) / size, rtol=1e-9)


def test_the_scale_is_learned():
    method, batch = build(MetaBaseline, MetaBaselineSettings(scale=4.0)), episodes()
    numeric = numeric_gradients(method, lambda: method.loss(batch, 0.0))
    found = gradients(method, batch)
    close(found, numeric, rtol=1e-6)
    assert torch.abs(found["scale"]) > 1e-4
