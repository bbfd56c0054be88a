"""P>M>F: fine-tuning on augmented support, against one optimiser per task."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.methods.hybrid import pmf
from metabench.methods.hybrid.pmf import PMF, PMFSettings
from tests.methods.small import DIM, WAYS, build, check_slopes, episodes


def cosine_logits(x: Tensor, support: Tensor, y: Tensor, scale: float) -> Tensor:
    means = torch.stack([support[y == k].mean(0) for k in range(WAYS)])
    return scale * F.cosine_similarity(x[:, None], means[None], dim=-1)


def test_answers_equal_one_optimiser_per_task(monkeypatch):
    def moved(e, strength, step):  # vectors are not augmented else
        return replace(e, support_x=e.support_x + 0.3 * step)

    monkeypatch.setattr(pmf, "augmented_support", moved)
    method = build(PMF, PMFSettings(finetune_lr=0.2, steps=3, scale=5.0))
    batch = episodes(support=9)
    logits = method.predict(batch)
    for t in range(len(batch)):
        layer = method.backbone.layers[0]
        network = nn.Sequential(nn.Linear(DIM, 7), nn.ReLU()).double()
        network[0].load_state_dict(copy.deepcopy(layer.state_dict()))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
        x, y = batch.support_x[t], batch.support_y[t]
        for step in (1, 2, 3):  # copies ask, the support itself gives the prototypes
            copies = network(x + 0.3 * step)
            optimizer.zero_grad()
            F.cross_entropy(cosine_logits(copies, network(x), y, 5.0), y).backward()
            optimizer.step()
        with torch.no_grad():
            expected = cosine_logits(network(batch.query_x[t]), network(x), y, 5.0)
        torch.testing.assert_close(logits[t], expected)


def test_without_steps_it_is_a_cosine_prototypical_network_trained_as_such():
    method, batch = build(PMF, PMFSettings(steps=0, scale=5.0)), episodes(support=9)
    f = batch.map(method.backbone)
    expected = [
        cosine_logits(q, x, y, 5.0)
        for q, x, y in zip(f.query_x, f.support_x, batch.support_y, strict=True)
    ]
    torch.testing.assert_close(method.predict(batch), torch.stack(expected).detach())
    loss = F.cross_entropy(torch.cat(expected), batch.query_y.flatten())
    torch.testing.assert_close(method.loss(batch, 0.0), loss)
    check_slopes(method, lambda: method.loss(batch, 0.0))


def test_neither_queries_nor_other_tasks_matter_and_the_method_is_left_as_it_was():
    method, batch = build(PMF, PMFSettings(finetune_lr=0.2, steps=3)), episodes()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    logits = method.predict(batch)
    changed = replace(batch, query_x=torch.cat([batch.query_x[:, :1], batch.query_x[:, 1:] + 1], 1))
    torch.testing.assert_close(method.predict(changed)[:, 0], logits[:, 0])
    torch.testing.assert_close(method.predict(batch[1:]), logits[1:])
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name
