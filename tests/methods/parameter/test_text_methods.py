"""TF-IDF, LoRA, SetFit and the tuning of text encoders against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

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


def test_lora_merged_into_the_weights_is_peft_s_adapter() -> None:
    import_timm()  # declares the operators of torchvision, which peft imports, too
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(1)
    plain = nn.Sequential(nn.Linear(6, 5)).double()
    config = LoraConfig(r=2, lora_alpha=6.0, target_modules=["0"], lora_dropout=0.0)
    adapted = inject_adapter_in_model(config, nn.Sequential(nn.Linear(6, 5)).double())
    layer = adapted[0]
    layer.base_layer.load_state_dict(plain[0].state_dict())
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert not b.any()
    nn.init.normal_(b)
    learner = build(LoRA, LoRASettings(rank=2, alpha=6.0))
    learner.encoder = lambda: {"0.weight": plain[0].weight}
    learner.targets = ["0.weight"]
    merged = learner.weights({"A:0.weight": a, "B:0.weight": b})["0.weight"]
    x = torch.randn(4, 6, dtype=torch.double)
    torch.testing.assert_close(F.linear(x, merged, plain[0].bias), adapted(x).double())


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


def test_tuning_is_adamw_with_warm_up_on_the_support() -> None:
    settings = LanguageTuningSettings(
        steps=4, chunk=64, finetune_lr=0.01, head_lr=0.02, warm_up=0.25
    )
    learner, e = build(LMFineTune, settings), episodes()
    x, y, query = e.support_x[0], e.support_y[0], e.query_x[0]
    network = build(LMFineTune).backbone
    unit = lambda ids: F.normalize(network(ids[None])[0], dim=-1)  # noqa: E731
    head = nn.Linear(12, WAYS).double()
    with torch.no_grad():
        means = torch.stack([unit(x)[y == k].mean(0) for k in range(WAYS)])
        head.weight.copy_(10 * F.normalize(means, dim=-1))
        head.bias.zero_()
    groups = [
        {"params": network.parameters(), "lr": 0.01},
        {"params": head.parameters(), "lr": 0.02},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    for factor in (0.5, 1.0, 2 / 3, 1 / 3):
        for group, rate in zip(optimizer.param_groups, (0.01, 0.02), strict=True):
            group["lr"] = rate * factor
        optimizer.zero_grad()
        F.cross_entropy(head(unit(x)), y).backward()
        optimizer.step()
    torch.testing.assert_close(learner.predict(e)[0], head(unit(query)).detach())


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


def test_seeds_draw_differently_and_a_seed_draws_alike() -> None:
    settings = LanguageTuningSettings(chunk=4, finetune_lr=0.01)
    one, same = build(LMFineTune, settings), build(LMFineTune, settings)
    other = build(LMFineTune, settings)
    other.draws += 1
    e = episodes()
    assert torch.equal(one.predict(e), same.predict(e))
    assert not torch.equal(one.predict(e), other.predict(e))
