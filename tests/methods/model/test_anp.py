"""ANP: cross-attention from each query to the support, against a loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metabench.methods.model.anp import ANP, ANPSettings
from tests.methods.small import WAYS, build, episodes

HEADS, SIZE = 2, 3


def anp(regression: bool) -> ANP:
    settings = ANPSettings(width=HEADS * SIZE, heads=HEADS)
    return build(ANP, settings, outputs=int(regression)).requires_grad_(False)


@pytest.mark.parametrize("regression", [False, True])
def test_answers_equal_a_loop_over_queries_heads_and_examples(regression):
    method, batch = anp(regression), episodes(regression=regression)
    answers, embedded = method.predict(batch), batch.map(method.embed)
    for t in range(len(batch)):
        names = list(range(WAYS))
        labels = batch.support_y[t]
        if not regression:
            names = list(dict.fromkeys(labels.tolist()))
            names += [k for k in range(WAYS) if k not in names]
            labels = torch.eye(WAYS).double()[[names.index(k) for k in labels.tolist()]]
        values = [
            method.h(torch.cat([x, y])) for x, y in zip(embedded.support_x[t], labels, strict=True)
        ]
        keys = [method.address(x) for x in embedded.support_x[t]]
        for q, x in enumerate(embedded.query_x[t]):
            parts, address = [], method.address(x)
            for head in range(HEADS):
                piece = slice(head * SIZE, (head + 1) * SIZE)
                scores = torch.stack([address[piece] @ k[piece] for k in keys]) / SIZE**0.5
                parts.append(
                    sum(w * v[piece] for w, v in zip(scores.softmax(0), values, strict=True))
                )
            expected = method.g(torch.cat([x, *parts]))
            if regression:
                torch.testing.assert_close(answers[t, q], expected[:1])
            else:
                by_name = torch.stack([expected[names.index(k)] for k in range(WAYS)])
                torch.testing.assert_close(answers[t, q], by_name)


@pytest.mark.parametrize("regression", [False, True])
def test_queries_do_not_see_each_other(regression):
    method, batch = anp(regression), episodes(regression=regression)
    changed = batch.query_x.clone()
    changed[:, 1:] += 1
    torch.testing.assert_close(
        method.predict(replace(batch, query_x=changed))[:, 0], method.predict(batch)[:, 0]
    )
