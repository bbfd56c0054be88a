"""timm models with random weights, offline: features, per-task weights, moments, messages."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from torch import Tensor, nn

from metabench.backbones import build_backbone
from metabench.config import BackboneChoice
from metabench.files import InputError
from metabench.pipeline.embeddings import embed
from tests.backbones.timm_offline import import_timm


@pytest.fixture(scope="module", autouse=True)
def timm():
    return import_timm()


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(model: str, channels: int = 1, side: int = 32, **settings):
    torch.manual_seed(0)
    net = build_backbone("timm", (channels, side, side), model=model, **settings).double()
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() == 1:  # scales that timm starts at 0 would hide whole branches
                p.copy_(0.5 + torch.rand_like(p))
    return net


def test_features_are_those_of_the_timm_model(timm):
    net = build("test_resnet").eval()
    x = images(2, 3, 1, 32, 32)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=0).double().eval()
    model.load_state_dict(net.network.model.state_dict())
    torch.testing.assert_close(net(x), model(x.flatten(0, 1)).unflatten(0, (2, 3)))
    maps = model.forward_features(x.flatten(0, 1)).flatten(2)
    torch.testing.assert_close(net.maps(x), maps.unflatten(0, (2, 3)))
    assert net(x).shape == (2, 3, net.feature_dim) and net.maps(x).shape[2] == net.channels


@pytest.mark.parametrize("support", [None, 2])
@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_per_task_weights_equal_a_loop_over_tasks(model, support):
    net = build(model).eval()
    x = images(3, 4, 1, 32, 32)
    weights = {
        name: torch.stack([p * (1 + 0.1 * t) for t in range(3)])
        for name, p in net.named_parameters()
    }
    y = net(x, weights, support)
    for t in range(3):
        one = copy.deepcopy(net)
        one.load_state_dict({name: w[t] for name, w in weights.items()}, strict=False)
        torch.testing.assert_close(y[t], one(x[t : t + 1], support=support)[0])
    assert not torch.allclose(y[0], net(x[:1], {k: w[1:2] for k, w in weights.items()}, support)[0])


def test_support_moments_are_those_of_plain_batch_norms_in_training_mode():
    net = build("test_resnet").eval()
    x = images(2, 5, 1, 32, 32)
    y = net(x, support=5)  # all examples are support
    plain = copy.deepcopy(net.network.model).train()
    for t in range(2):
        torch.testing.assert_close(y[t], plain(x[t]))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit"])
def test_support_moments_do_not_depend_on_the_queries_and_leave_the_model_alone(model, training):
    net = build(model).train(training)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = images(2, 6, 1, 32, 32)
    y = net(x, support=4)
    changed = x.clone()
    changed[:, 5] = 1 - changed[:, 5]
    changed[1] = 1 - changed[1]
    torch.testing.assert_close(net(changed, support=4)[0, :5], y[0, :5])
    assert not torch.allclose(net(changed, support=4)[0, 5], y[0, 5])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(m.training == training and not m._forward_pre_hooks for m in net.modules())


def test_gradients_of_any_order_flow_through_per_task_weights():
    net, n = build("test_resnet").eval(), 6
    x = images(1, n, 1, 32, 32)

    def after_a_step(rate: Tensor) -> Tensor:
        weights = {k: p[None] for k, p in net.named_parameters()}
        loss = net(x, weights, n).square().mean()
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        moved = {k: w - rate * g for (k, w), g in zip(weights.items(), slopes, strict=True)}
        return net(x, moved, n).square().mean()

    rate = torch.tensor(1e-3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(after_a_step(rate), rate)
    numeric = (after_a_step(rate + 1e-6) - after_a_step(rate - 1e-6)) / 2e-6
    torch.testing.assert_close(slope, numeric.detach(), rtol=1e-5, atol=1e-8)


def test_per_task_weights_with_batch_moments_are_refused():
    net = build("test_resnet").train()
    weights = {n: p[None] for n, p in net.named_parameters()}
    with pytest.raises(RuntimeError, match="support moments"):
        net(images(1, 2, 1, 32, 32), weights)


def test_weights_of_a_file_are_loaded_flagged_and_see_the_images_they_know(timm, tmp_path):
    trained = timm.create_model("test_resnet", num_classes=7).eval()
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    path = str(tmp_path / "w.pth")
    net = build_backbone("timm", (3, 48, 48), model="test_resnet", checkpoint=path).eval()
    x = images(1, 2, 3, 48, 48).float()
    mean, std = (torch.tensor(trained.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    expected = trained.forward_head(trained.forward_features((x[0] - mean) / std), pre_logits=True)
    torch.testing.assert_close(net(x)[0], expected)
    assert net.external_pretraining and not build("test_resnet").external_pretraining
    grey = build_backbone("timm", (1, 48, 48), model="test_resnet", checkpoint=path)
    assert grey(x[:, :, :1]).shape == (1, 2, net.feature_dim)


def test_a_frozen_model_gives_the_features_of_its_weights(timm, tmp_path):
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "w.pth")
    settings = {"model": "test_resnet", "checkpoint": str(tmp_path / "w.pth"), "size": 40}
    stored = (255 * images(3, 3, 32, 32)).to(torch.uint8)
    found = embed(BackboneChoice(name="timm_frozen", settings=settings), stored.numpy())
    net = build_backbone("timm", (3, 32, 32), **settings).eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), net(stored[None].float() / 255)[0])


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    def refuse(*given: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    frozen = build_backbone("timm_frozen", (8,), model="test_resnet")
    with pytest.raises(InputError, match=r"'test_resnet' with the weights that timm .*no network"):
        frozen.encoder((3, 48, 48))


def test_images_are_resized_where_the_settings_say_so():
    net = build("test_vit", side=20, size=64).eval()
    x = images(1, 2, 1, 20, 20)
    resized = nn.functional.interpolate(x[0], (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(net(x)[0], net.network.model(resized))
    assert net.maps(x).shape[-1] == 16  # 16×16 patches, without the class token


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext"])
def test_blocks_are_in_order_and_hold_the_weights(model):
    net = build(model)
    assert len(net.block_prefixes) >= 4
    names = [n for n, p in net.named_parameters() if p.dim() > 1 and "token" not in n]
    found = [[i for i, b in enumerate(net.block_prefixes) if n.startswith(b)] for n in names]
    assert [f for f in found if f] == sorted(f for f in found if f)
    assert sum(len(f) == 1 for f in found) >= len(names) - 1  # positions belong to no block


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "restnet18"}, "no model 'restnet18'. Did you mean .*resnet18"),
        ({"model": "test_resnet", "checkpoint": "none.pth"}, "checkpoint: none.pth: no such file"),
        ({"model": "convnext_atto"}, "does not take 16×16 images .* Set `size`"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(settings, message):
    with pytest.raises(InputError, match=message):
        build_backbone("timm", (1, 16, 16), **settings)


def test_weights_of_another_model_are_refused(timm, tmp_path):
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth has no weights for \d+ parts"):
        build_backbone("timm", (3, 48, 48), model="test_resnet", checkpoint=str(tmp_path / "w.pth"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"'test_resnet' with the weights of .*w\.pth"):
        build_backbone("timm", (3, 48, 48), model="test_resnet", checkpoint=str(tmp_path / "w.pth"))


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'metabench\[timm\]'"):
        build_backbone("timm", (1, 32, 32))
