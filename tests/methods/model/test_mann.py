"""MANN: the memory against a step-by-step reference; no label leak; queries write nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metabench.backbones.mlp import MLP
from metabench.episodes import Episodes
from metabench.files import InputError
from metabench.methods.base import Task
from metabench.methods.model.mann import MANN, MANNSettings

WAYS, DIM = 3, 6


def mann(**settings: int) -> MANN:
    torch.manual_seed(0)
    method = MANN(MLP((DIM,), ()), Task("vector", WAYS, 10), MANNSettings(**settings))
    for gate in (method.gates.weight, method.keys.weight):
        nn.init.normal_(gate, std=0.5)  # far from the neutral start
    return method.double().eval()


def episodes(support: int = 7, queries: int = 4, tasks: int = 2) -> Episodes:
    g = torch.Generator().manual_seed(1)
    return Episodes(
        torch.randn(tasks, support, DIM, generator=g, dtype=torch.float64),
        torch.randint(WAYS, (tasks, support), generator=g),
        torch.randn(tasks, queries, DIM, generator=g, dtype=torch.float64),
        torch.randint(WAYS, (tasks, queries), generator=g),
        WAYS,
    )


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_logits(method: MANN, support: Tensor, labels: list[int], query: Tensor) -> np.ndarray:
    """One query of one task, slot by slot: Santoro et al. 2016, section 3."""
    p = {name: value.detach().numpy() for name, value in method.named_parameters()}
    s = method.settings
    memory = np.zeros((s.slots, s.width))
    usage, read_weights = np.zeros(s.slots), np.zeros((s.reads, s.slots))
    h, c, read = np.zeros(s.controller), np.zeros(s.controller), np.zeros(s.reads * s.width)

    def control(x: np.ndarray, label: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal h, c
        item = np.concatenate([x, np.eye(WAYS)[label] if label is not None else np.zeros(WAYS)])
        gates = p["controller.weight_ih"] @ np.concatenate([item, read]) + p["controller.bias_ih"]
        gates = gates + p["controller.weight_hh"] @ h + p["controller.bias_hh"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        seen = np.concatenate([h, item])
        keys = np.tanh(p["keys.weight"] @ seen + p["keys.bias"]).reshape(s.reads, s.width)
        scalars = p["gates.weight"] @ seen + p["gates.bias"]
        return keys, sigmoid(scalars[: s.reads]), 10 + np.log1p(np.exp(scalars[s.reads :]))

    def look_up(key: np.ndarray, strength: float) -> np.ndarray:
        cosines = [
            row @ key / (max(np.linalg.norm(row), 1e-6) * max(np.linalg.norm(key), 1e-6))
            for row in memory
        ]
        return softmax(strength * np.array(cosines))

    for x, label in zip(support.numpy(), labels, strict=True):
        keys, gate, strength = control(x, label)
        free = sorted(range(s.slots), key=lambda i: (usage[i], i))[: s.reads]
        write_weights = np.zeros((s.reads, s.slots))
        for head in range(s.reads):
            write_weights[head] = gate[head] * read_weights[head]
            write_weights[head, free[head]] += 1 - gate[head]
        for i in range(s.slots):
            if i in free:
                memory[i] = 0
            for head in range(s.reads):
                memory[i] += write_weights[head, i] * keys[head]
        for head in range(s.reads):
            read_weights[head] = look_up(keys[head], strength[head])
        usage = s.decay * usage + read_weights.sum(0) + write_weights.sum(0)
        read = np.concatenate([w @ memory for w in read_weights])
    keys, _, strength = control(query.numpy(), None)
    found = [look_up(k, b) @ memory for k, b in zip(keys, strength, strict=True)]
    return p["output.weight"] @ np.concatenate([h, *found]) + p["output.bias"]


@pytest.mark.parametrize("reads", [1, 2])
def test_memory_and_answers_equal_a_step_by_step_reference(reads):
    """Nine slots for seven items: with two heads, slots are reused."""
    method, batch = mann(controller=5, slots=9, width=4, reads=reads), episodes()
    logits = method.classify(batch)
    for t in range(len(batch)):
        names = list(dict.fromkeys(batch.support_y[t].tolist()))  # by appearance
        names += [k for k in range(WAYS) if k not in names]
        labels = [names.index(k) for k in batch.support_y[t].tolist()]
        for q in range(batch.query_x.shape[1]):
            expected = slow_logits(method, batch.support_x[t], labels, batch.query_x[t, q])
            by_name = [expected[names.index(k)] for k in range(WAYS)]
            np.testing.assert_allclose(logits[t, q].detach(), by_name, rtol=1e-10)


def test_queries_write_nothing_and_do_not_see_each_other():
    method, batch = mann(controller=5, slots=9, width=4, reads=1), episodes()
    logits = method.classify(batch)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = replace(batch, query_x=batch.query_x[:, order], query_y=batch.query_y[:, order])
    torch.testing.assert_close(method.classify(shuffled), logits[:, order])
    changed = batch.query_x.clone()
    changed[:, :-1] += 5
    torch.testing.assert_close(
        method.classify(replace(batch, query_x=changed))[:, -1], logits[:, -1]
    )


def test_the_answer_does_not_depend_on_the_query_labels():
    method, batch = mann(controller=5, slots=9, width=4, reads=1), episodes()
    other = replace(batch, query_y=(batch.query_y + 1) % WAYS)
    torch.testing.assert_close(method.classify(other), method.classify(batch))


def test_more_ways_than_label_slots_are_refused():
    batch = replace(episodes(), ways=WAYS + 1)
    with pytest.raises(InputError, match=f"{WAYS} label slots"):
        mann().classify(batch)


def easy(tasks: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sequences of noisy copies of fresh random prototypes with freshly drawn names."""
    g = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(tasks, WAYS, DIM, generator=g)
    y = torch.randint(WAYS, (tasks, size), generator=g)
    noise = 0.1 * torch.randn(tasks, size, DIM, generator=g)
    return prototypes[torch.arange(tasks)[:, None], y] + noise, y


@pytest.fixture(scope="module")
def trained() -> MANN:
    torch.manual_seed(0)
    settings = MANNSettings(controller=32, slots=12, width=16, reads=1)
    method = MANN(MLP((DIM,), (32,)), Task("vector", WAYS, 10), settings)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for step in range(200):
        x, y = easy(32, 12, seed=step)
        batch = Episodes(x[:, :6], y[:, :6], x[:, 6:], y[:, 6:], WAYS)
        optimizer.zero_grad()
        method.loss(batch, 0.0).backward()
        optimizer.step()
    return method.eval()


def test_the_first_instance_of_a_class_is_guessed_and_later_ones_are_known(trained):
    """The sequence protocol: item t is answered from the items before it (paper, table 1)."""
    x, y = easy(1000, 8, seed=10_000)
    hits: dict[int, list[Tensor]] = {1: [], 2: [], 3: []}
    for t in range(x.shape[1]):
        batch = Episodes(x[:, :t], y[:, :t], x[:, t : t + 1], y[:, t : t + 1], WAYS)
        with torch.no_grad():
            right = trained.predict(batch).argmax(-1)[:, 0] == y[:, t]
        instance = 1 + (y[:, :t] == y[:, t : t + 1]).sum(1)
        for number, values in hits.items():
            values.append(right[instance == number])
        if t == 0:  # nothing is known: chance, within four standard errors
            assert abs(right.double().mean() - 1 / WAYS) < 4 * (2 / 9 / 1000) ** 0.5
    first, second, third = (torch.cat(hits[n]).double().mean().item() for n in (1, 2, 3))
    # at best 1/3, 1/2 and 1: guesses among the classes that have not appeared yet
    assert first < (1 / 3 + 1 / 2 + 1) / 3 + 0.03
    assert second > 0.85
    assert third > 0.85
