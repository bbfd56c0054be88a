"""CAML: its codes by their definition, its answers against one sequence at a time in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metabench.files import InputError
from metabench.methods.base import Task
from metabench.methods.model import caml
from metabench.methods.model.caml import CAML, equiangular
from metabench.methods.parts.transformer import TransformerSettings
from tests.methods.model.plain import Arrays, arrays, by_name, feature, linear, slots, softmax
from tests.methods.small import WAYS, build, episodes

HEADS = 2
SETTINGS = TransformerSettings(width=8, layers=2, heads=HEADS)


@pytest.fixture
def method() -> CAML:
    """With a scale and an unknown code that differ from their start."""
    found = build(CAML, SETTINGS)
    found.scale.data.fill_(1.7)
    found.unknown.data.copy_(torch.tensor([0.3, -0.2, 0.5]))
    return found


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_codes_are_of_equal_length_and_as_far_apart_as_possible(classes) -> None:
    codes = equiangular(classes).double()
    products = (codes @ codes.T).numpy()
    np.testing.assert_allclose(np.diag(products), 1, rtol=1e-6)
    apart = products[~np.eye(classes, dtype=bool)]
    # as ‖Σ φ‖² ≥ 0, the mean of K(K − 1) products of unit vectors is −1/(K − 1) at least
    np.testing.assert_allclose(apart, -1 / (classes - 1), rtol=1e-6)


def normed(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * p[f"{name}.weight"] + p[f"{name}.bias"]


def encoded(p: Arrays, tokens: list[np.ndarray]) -> list[np.ndarray]:
    """Pre-norm blocks in which every token attends to all."""
    for i in range(SETTINGS.layers):
        name, attended = f"transformer.layers.{i}", []
        queries, keys, values = zip(
            *(
                np.split(
                    p[f"{name}.self_attn.in_proj_weight"] @ normed(p, f"{name}.norm1", x)
                    + p[f"{name}.self_attn.in_proj_bias"],
                    3,
                )
                for x in tokens
            ),
            strict=True,
        )
        for query in queries:
            mixed, size = [], SETTINGS.width // HEADS
            for head in (slice(h * size, (h + 1) * size) for h in range(HEADS)):
                weights = softmax(np.array([query[head] @ k[head] for k in keys]) / size**0.5)
                mixed.append(sum(w * v[head] for w, v in zip(weights, values, strict=True)))
            attended.append(linear(p, f"{name}.self_attn.out_proj", np.concatenate(mixed)))
        tokens = [x + a for x, a in zip(tokens, attended, strict=True)]
        inner = [linear(p, f"{name}.linear1", normed(p, f"{name}.norm2", x)) for x in tokens]
        tokens = [
            x + linear(p, f"{name}.linear2", np.maximum(h, 0))
            for x, h in zip(tokens, inner, strict=True)
        ]
    return [normed(p, "transformer.norm", x) for x in tokens]


@pytest.mark.parametrize("tokens_at_once", [1, 2**17])
def test_logits_are_read_from_the_query_s_token_of_its_own_sequence(
    method, tokens_at_once, monkeypatch
) -> None:
    monkeypatch.setattr(caml, "TOKENS", tokens_at_once)
    batch, p = episodes(), arrays(method)
    codes = 1.7 * np.sqrt(WAYS / (WAYS - 1)) * (np.eye(WAYS) - 1 / WAYS)
    found = method.predict(batch).detach().numpy()
    for t in range(len(batch)):
        labels = batch.support_y[t].tolist()
        support = [
            np.concatenate([linear(p, "token", feature(p, x)), codes[slots(labels).index(y)]])
            for x, y in zip(batch.support_x[t].numpy(), labels, strict=True)
        ]
        for q, x in enumerate(batch.query_x[t].numpy()):
            query = np.concatenate([linear(p, "token", feature(p, x)), p["unknown"]])
            outputs = encoded(p, [query, *support])
            expected = by_name(linear(p, "output", outputs[0]), labels)
            np.testing.assert_allclose(found[t, q], expected, atol=1e-6)  # codes are float32


def test_the_encoder_stays_as_pretraining_left_it(method) -> None:
    method.train()
    assert method.training and not method.backbone.training
    method.loss(episodes(), 0.0).backward()
    assert all(p.grad is None for p in method.backbone.parameters())
    (group,) = method.parameter_groups()
    trained = {n for n, p in method.named_parameters() if any(p is q for q in group["params"])}
    assert {n.partition(".")[0] for n in trained} == {
        *("norm", "token", "unknown", "scale", "transformer", "output")
    }


def test_a_token_without_room_for_a_feature_is_refused() -> None:
    with pytest.raises(InputError, match="Raise width above 8"):
        CAML(build(CAML, SETTINGS).backbone, Task("vector", 8, 10), SETTINGS)
