"""TF-IDF, LoRA, SetFit and the tuning of text encoders against independent computations."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.func import functional_call

from metabench.backbones.base import Backbone
from metabench.backbones.text_cnn import TextCNN
from metabench.episodes import Episodes
from metabench.methods.base import Task
from metabench.methods.control.tfidf import Tfidf
from metabench.methods.control.tfidf_neighbour import SCALE, TfidfNeighbour
from metabench.methods.parameter.bitfit import BitFit
from metabench.methods.parameter.lm_fine_tune import LMFineTune
from metabench.methods.parameter.lm_last_block import LMLastBlock
from metabench.methods.parameter.lora import LoRA, LoRASettings
from metabench.methods.parameter.setfit import SetFit, SetFitSettings
from metabench.methods.parts.language_tuning import LanguageTuningSettings, warm_up_then_decay
from tests.backbones.timm_offline import import_timm

WAYS = 3


def episodes(shots: int = 4) -> Episodes:
    """One task: each class has words of its own, every text some common ones."""
    g = torch.Generator().manual_seed(0)

    def texts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(WAYS).repeat_interleave(count)
        own = 200 + 10 * y[:, None] + torch.randint(6, (len(y), 4), generator=g)
        common = torch.randint(300, 330, (len(y), 3), generator=g)
        x = torch.cat([own, common], dim=1)
        x[::2, 5:] = 0
        return x[None].int(), y[None]

    (sx, sy), (qx, qy) = texts(shots), texts(5)
    return Episodes(sx, sy, qx, qy, WAYS)


def build(method, settings=None):
    torch.manual_seed(0)
    net = TextCNN((7,), width=12, size=8, pieces=512)
    return method(net, Task("text", WAYS, 5), settings or method.Settings()).double().eval()


TUNING = {"steps": 4, "finetune_lr": 0.01, "head_lr": 0.02, "warm_up": 0.25, "decay": 0.05}
RATES = (0.5, 1.0, 2 / 3, 1 / 3)
"""Factors of the learning rates in four steps, one of which warms up."""


def plain_weights(learner) -> dict[str, torch.Tensor]:
    """Copies of the backbone's parameters that nothing of the package touches."""
    named = learner.backbone.named_parameters()
    return {name: p.detach().clone().requires_grad_() for name, p in named}


def slow_features(w: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Unit features ``[N, 12]`` by the small network of :func:`build`, piece by piece."""
    features = []
    for row in ids:
        vectors = [w["embedding.weight"][i] for i in row.tolist() if i != 0]
        nothing = torch.zeros(8, dtype=torch.double)
        padded, seen = [nothing, *vectors, nothing], []
        for place in range(len(vectors)):
            window = torch.cat(padded[place : place + 3])
            seen.append((w["convolution.weight"] @ window + w["convolution.bias"]).clamp_min(0))
        pooled = torch.cat([torch.stack(seen).mean(0), torch.stack(seen).max(0).values])
        feature = w["output.weight"] @ pooled + w["output.bias"]
        features.append(feature / feature.square().sum().sqrt())
    return torch.stack(features)


def slow_adamw(
    rates: list[tuple[torch.Tensor, float]], loss: Callable[[int], torch.Tensor]
) -> None:
    """Loshchilov & Hutter 2019, algorithm 2, with a decay of 0.05, on tensors in place."""
    first, second = ([torch.zeros_like(p) for p, _ in rates] for _ in range(2))
    for step, factor in enumerate(RATES):
        slopes = torch.autograd.grad(loss(step), [p for p, _ in rates])
        for i, ((p, rate), slope) in enumerate(zip(rates, slopes, strict=True)):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            mean = first[i] / (1 - 0.9 ** (step + 1))
            size = (second[i] / (1 - 0.999 ** (step + 1))).sqrt()
            p.data = p.data - factor * rate * (mean / (size + 1e-8) + 0.05 * p.data)


def slow_tuning(learner, e, unit, rates) -> torch.Tensor:
    """Query logits of the one task, by a head that is tuned with the weights in ``rates``."""
    x, y = e.support_x[0], e.support_y[0]
    f = unit(x).detach()
    means = torch.stack([f[y == k].mean(0) for k in range(WAYS)])
    weight = (10 * means / means.norm(dim=1, keepdim=True)).requires_grad_()
    bias = torch.zeros(WAYS, dtype=torch.double, requires_grad=True)

    def loss(step: int) -> torch.Tensor:
        rows = learner.rows(len(x), step)
        log = (unit(x[rows]) @ weight.T + bias).log_softmax(-1)
        return -sum(log[i, y[row]] for i, row in enumerate(rows)) / len(rows)

    slow_adamw([*rates, (weight, 0.02), (bias, 0.02)], loss)
    return (unit(e.query_x[0]) @ weight.T + bias).detach()


class Attention(nn.Module):
    """Word vectors that attend to one another, then their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(512, 6)
        self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        scores = self.query(x) @ self.key(x).mT
        return (scores.softmax(-1) @ self.value(x)).mean(-2)


class Attending(Backbone):
    """A text encoder whose matrices have the names that LoRA looks for."""

    kinds = frozenset({"text"})
    block_prefixes = ("own.query.", "own.key.", "own.value.")
    feature_dim = 6

    def __init__(self, input_shape: tuple[int, ...]):
        super().__init__()
        self.own = Attention()

    def forward(self, x, weights=None, support=None):
        replaced = {n.removeprefix("own."): w for n, w in (weights or {}).items()}
        return functional_call(self.own, replaced, (x,))


def sentences(ids: torch.Tensor) -> list[str]:
    return [" ".join(f"w{i}" for i in row if i) for row in ids.tolist()]


def test_tfidf_is_scikit_learn_s_pipeline_on_the_same_words() -> None:
    e = episodes()
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=2000, tol=1e-8),
    ).fit(sentences(e.support_x[0]), e.support_y[0].numpy())
    expected = pipeline.predict_log_proba(sentences(e.query_x[0]))
    found = build(Tfidf).predict(e)[0].log_softmax(-1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_one_text_of_each_of_many_intents_is_no_regression(recwarn) -> None:
    x, y = torch.arange(200, 230)[None, :, None].int(), torch.arange(30)[None]
    answers = build(Tfidf).predict(Episodes(x, y, x, y, 30))
    assert (answers.argmax(-1) == y).all()
    assert not recwarn.list


def test_the_tfidf_neighbour_is_the_most_similar_text() -> None:
    e = episodes()
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = vectors.fit_transform(sentences(e.support_x[0])).toarray()
    asked = vectors.transform(sentences(e.query_x[0])).toarray()
    found = build(TfidfNeighbour).predict(e)[0].numpy()
    for q, row in enumerate(asked @ known.T):
        for k in range(WAYS):
            assert found[q, k] == pytest.approx(SCALE * row[e.support_y[0].numpy() == k].max())


@pytest.mark.parametrize("method", [Tfidf, TfidfNeighbour, LMFineTune, SetFit])
def test_empty_texts_are_answered(method) -> None:
    e = episodes(shots=2)
    for x in (e.support_x, e.query_x):
        x[:] = 0
    logits = build(method).predict(e)
    assert logits.isfinite().all()


def test_lora_starts_at_the_encoder_itself() -> None:
    learner, e = build(LoRA), episodes()
    with torch.no_grad():
        features = learner.embed(e.query_x[0], learner.initial())
        plain = F.normalize(learner.backbone(e.query_x)[0], dim=-1)
    torch.testing.assert_close(features, plain, rtol=0, atol=1e-14)
    assert all(not w.any() for n, w in learner.initial().items() if n.startswith("B:"))


def test_lora_adds_a_scaled_product_of_low_rank() -> None:
    learner = build(LoRA, LoRASettings(rank=2, alpha=6.0))
    learned = {name: torch.randn_like(start) for name, start in learner.initial().items()}
    found, own = learner.weights(learned)["output.weight"], learner.backbone.output.weight
    a, b = learned["A:output.weight"], learned["B:output.weight"]
    for i, j in ((0, 0), (3, 17), (11, 23)):
        expected = own[i, j] + 3 * (b[i, 0] * a[0, j] + b[i, 1] * a[1, j])
        torch.testing.assert_close(found[i, j], expected)


def test_lora_is_peft_s_adapter_on_the_queries_and_values() -> None:
    import_timm()  # declares the operators of torchvision, which peft imports, too
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    e, net = episodes(), Attending((7,)).double()
    settings = LoRASettings(rank=2, alpha=6.0, chunk=5, **TUNING)
    learner = LoRA(net, Task("text", WAYS, 5), settings).double().eval()
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["query", "value"], lora_dropout=0.0)
    adapted = inject_adapter_in_model(config, copy.deepcopy(net.own)).double()
    rates = []
    for name, weight in adapted.named_parameters():
        weight.requires_grad_("lora_" in name)
        if "lora_" in name:
            target, _, side = name.partition(".lora_")
            weight.data = learner.initial()[f"{side[0]}:own.{target}.weight"].clone()
            rates.append((weight, 0.01))
    assert len(rates) == 4
    expected = slow_tuning(learner, e, lambda ids: F.normalize(adapted(ids), dim=-1), rates)
    torch.testing.assert_close(learner.predict(e)[0], expected)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (LMFineTune, lambda n: True),
        (LMLastBlock, lambda n: n.startswith("output.")),
        (BitFit, lambda n: n in ("convolution.bias", "output.bias")),
    ],
)
def test_what_is_tuned_is_what_the_method_says(method, expected) -> None:
    learner = build(method)
    names = [n for n, _ in learner.backbone.named_parameters()]
    assert set(learner.initial()) == {n for n in names if expected(n)}


@pytest.mark.parametrize(
    ("method", "tuned"),
    [(LMFineTune, ""), (LMLastBlock, r"output\."), (BitFit, r".*\.bias$")],
)
def test_tuning_is_adamw_with_warm_up_on_chunks_of_the_support(method, tuned) -> None:
    learner, e = build(method, method.Settings(chunk=5, **TUNING)), episodes()
    w = plain_weights(learner)
    rates = [(p, 0.01) for name, p in w.items() if re.match(tuned, name)]
    expected = slow_tuning(learner, e, lambda ids: slow_features(w, ids), rates)
    torch.testing.assert_close(learner.predict(e)[0], expected)


def test_a_pass_over_the_support_takes_each_of_its_texts_once() -> None:
    learner = build(LMFineTune, LanguageTuningSettings(chunk=5))
    passes = [torch.cat([learner.rows(15, 3 * i + k) for k in range(3)]) for i in range(2)]
    assert all(sorted(rows.tolist()) == list(range(15)) for rows in passes)
    assert passes[0].tolist() != passes[1].tolist()
    assert sorted(learner.rows(4, 7).tolist()) == list(range(4))


def test_the_rate_rises_then_falls_to_zero() -> None:
    factors = [warm_up_then_decay(10, 0.2, step) for step in range(11)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors[-1] == 0 and factors[2:] == sorted(factors[2:], reverse=True)


@pytest.mark.parametrize("shots", [1, 4])
def test_setfit_pairs_are_half_of_one_class_and_half_of_two(shots) -> None:
    learner = build(SetFit, SetFitSettings(chunk=40))
    y = torch.arange(WAYS).repeat(shots)
    first, second = learner.pairs(y, step=3)
    same = y[first] == y[second]
    assert same.tolist() == [True] * 20 + [False] * 20
    with_itself = (first == second)[:20]
    assert with_itself.all() if shots == 1 else not with_itself.any()
    again = learner.pairs(y, step=3)
    assert torch.equal(first, again[0]) and not torch.equal(first, learner.pairs(y, step=4)[0])


def test_setfit_draws_pairs_together_or_apart_then_fits_a_logistic_head() -> None:
    learner, e = build(SetFit, SetFitSettings(chunk=6, c=3.0, **TUNING)), episodes()
    x, y, w = e.support_x[0], e.support_y[0], plain_weights(learner)

    def loss(step: int) -> torch.Tensor:
        first, second = learner.pairs(y, step)
        one, two = slow_features(w, x[first]), slow_features(w, x[second])
        errors = [
            a @ b - float(y[i] == y[j]) for a, b, i, j in zip(one, two, first, second, strict=True)
        ]
        return sum(error**2 for error in errors) / len(errors)

    slow_adamw([(p, 0.01) for p in w.values()], loss)
    support, query = (slow_features(w, ids).detach().numpy() for ids in (x, e.query_x[0]))
    head = LogisticRegression(C=3.0, tol=1e-12, max_iter=10_000).fit(support, y)
    found = learner.predict(e)[0].softmax(-1).numpy()
    np.testing.assert_allclose(found, head.predict_proba(query), atol=1e-5)


def test_seeds_draw_differently_and_a_seed_draws_alike() -> None:
    settings = LanguageTuningSettings(chunk=4, finetune_lr=0.01)
    one, same = build(LMFineTune, settings), build(LMFineTune, settings)
    other = build(LMFineTune, settings)
    other.draws += 1
    e = episodes()
    assert torch.equal(one.predict(e), same.predict(e))
    assert not torch.equal(one.predict(e), other.predict(e))
