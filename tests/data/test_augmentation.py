"""Each transformation against scipy, Pillow or a loop; what they leave alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage
from torch import Tensor

from metabench.data import augmentation
from metabench.data.augmentation import affine_map, augment
from metabench.data.base import CHARACTERS, PHOTOGRAPHS, SENTENCES, Builder
from metabench.files import InputError

HEIGHT, WIDTH = 20, 28
NAMES = (*augmentation.PLACES, *augmentation.JITTERS)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 6, channels: int = 3) -> Tensor:
    """Smooth images ``[count, C, H, W]``, so that interpolation decides little."""
    noise = torch.rand(count, channels, HEIGHT, WIDTH, generator=draw(1)).numpy()
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth))


def drawn(count: int, seed: int = 0) -> dict[str, Tensor]:
    """What :func:`augment` draws for ``count`` images, in −1 to 1."""
    columns = torch.rand(count, len(NAMES), generator=draw(seed)) * 2 - 1
    return dict(zip(NAMES, columns.T, strict=True))


def assert_inside_is(found: Tensor, expected: np.ndarray, margin: int = 0) -> None:
    inside = np.s_[..., margin : HEIGHT - margin, margin : WIDTH - margin]
    np.testing.assert_allclose(found.numpy()[inside], expected[inside], atol=1e-5)


def area_of(theta: Tensor) -> Tensor:
    """The determinant: negative where a map mirrors."""
    return theta[:, 0, 0] * theta[:, 1, 1] - theta[:, 0, 1] * theta[:, 1, 0]


def test_a_rotation_is_that_of_scipy():
    x, u = images(), drawn(6)
    found = augment(x[None], ("rotation",), 0.5, draw())[0]
    for image, new, share in zip(x, found, u["rotation"], strict=True):
        degrees = float(share) * 15 * 0.5
        expected = ndimage.rotate(image, degrees, axes=(2, 1), reshape=False, order=1)
        assert_inside_is(new, expected, margin=3)
    assert not torch.allclose(found, x, atol=0.05)


def test_a_shift_is_that_of_scipy():
    x, u = images(), drawn(6)
    found = augment(x[None], ("shift",), 1.0, draw())[0]
    for image, new, right, below in zip(x, found, u["right"], u["below"], strict=True):
        places = (0, float(below) * 0.1 * HEIGHT, float(right) * 0.1 * WIDTH)
        assert_inside_is(new, ndimage.shift(image, places, order=1), margin=3)


def test_a_scale_is_that_of_scipy():
    x, u = images(), drawn(6)
    found = augment(x[None], ("scale",), 1.0, draw())[0]
    middle = np.array([0, (HEIGHT - 1) / 2, (WIDTH - 1) / 2])
    for image, new, share in zip(x, found, u["scale"], strict=True):
        matrix = np.array([1, *[1.25 ** -float(share)] * 2])
        offset = middle - matrix * middle
        expected = ndimage.affine_transform(image.numpy(), matrix, offset, order=1)
        assert_inside_is(new, expected, margin=3)


def test_a_crop_is_the_box_that_pillow_enlarges():
    x, u = images(), drawn(6)
    found = augment(x[None], ("crop",), 1.0, draw())[0]
    for i, (image, new) in enumerate(zip(x, found, strict=True)):
        area = 1 - 0.92 * (float(u["area"][i]) + 1) / 2
        proportion = (4 / 3) ** float(u["proportion"][i])
        width = min(1, math.sqrt(area * proportion)) * WIDTH
        height = min(1, math.sqrt(area / proportion)) * HEIGHT
        left = (WIDTH - width) * (float(u["across"][i]) + 1) / 2
        top = (HEIGHT - height) * (float(u["down"][i]) + 1) / 2
        box = (left, top, left + width, top + height)
        for channel, part in zip(image, new, strict=True):
            picture = Image.fromarray(channel.numpy())
            expected = picture.transform(
                picture.size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
            )
            assert_inside_is(part, np.asarray(expected), margin=4)


def test_half_of_the_photographs_are_mirrored_and_no_character_ever():
    u = {name: torch.rand(2000, generator=draw(i)) for i, name in enumerate(NAMES)}
    areas = {
        allowed: area_of(affine_map(u, allowed, 1.0, 1.0)) for allowed in (PHOTOGRAPHS, CHARACTERS)
    }
    assert (areas[CHARACTERS] > 0).all()
    assert float((areas[PHOTOGRAPHS] < 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    x = images()
    found = augment(x[None], ("flip",), 1.0, draw())[0]
    for image, new, share in zip(x, found, drawn(6)["flip"], strict=True):
        expected = image.flip(-1) if share < 0 else image
        torch.testing.assert_close(new, expected)


def test_a_crop_never_leaves_the_image():
    u = {name: torch.rand(2000, generator=draw(i)) for i, name in enumerate(NAMES)}
    theta = affine_map(u, PHOTOGRAPHS, 1.0, 1.0)
    assert (theta.abs().sum(-1) <= 1 + 1e-6).all()
    assert area_of(theta).abs().min() == pytest.approx(0.08, abs=0.01)


@pytest.mark.parametrize("name", ["light", "contrast"])
def test_light_and_contrast_are_those_of_pillow(name):
    x = images(channels=1).expand(-1, 3, -1, -1)  # grey: Pillow weighs colours
    found = augment(x[None], (name,), 1.0, draw())[0]
    enhancer = {"light": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast}[name]
    for image, new, share in zip(x, found, drawn(6)[name], strict=True):
        picture = Image.fromarray(np.uint8(image.permute(1, 2, 0) * 255))
        expected = np.asarray(enhancer(picture).enhance(1 + 0.4 * float(share))) / 255
        np.testing.assert_allclose(new.permute(1, 2, 0), expected, atol=3 / 255)
    assert not torch.allclose(found, x, atol=0.05)


def test_jitters_follow_one_another_pixel_by_pixel():
    x, u = images(), drawn(6)
    found = augment(x[None], ("light", "contrast", "colour"), 0.5, draw())[0]
    for i, (image, new) in enumerate(zip(x.numpy(), found.numpy(), strict=True)):
        light, contrast, colour = (1 + 0.2 * float(u[n][i]) for n in augmentation.JITTERS)
        grey = image.mean(0)
        expected = np.stack([grey + colour * (channel - grey) for channel in image])
        expected = image.mean() + contrast * (expected - image.mean())
        np.testing.assert_allclose(new, np.clip(light * expected, 0, 1), atol=1e-6)


@pytest.mark.parametrize("allowed", [PHOTOGRAPHS, CHARACTERS])
def test_strength_nought_gives_the_images_and_no_draw_hangs_on_company(allowed):
    x = torch.stack([images(), images().flip(0)])
    assert augment(x, allowed, 0.0, draw()) is x
    assert augment(x, (), 1.0, draw()) is x
    found = augment(x, allowed, 1.0, draw())
    assert found.shape == x.shape and found.dtype == x.dtype
    torch.testing.assert_close(augment(x[:1, :4], allowed, 1.0, draw()), found[:1, :4])
    assert not torch.equal(augment(x, allowed, 1.0, draw(5)), found)


def test_what_else_is_allowed_changes_no_draw():
    x = images()[None]
    alone = augment(x, ("contrast",), 1.0, draw())
    both = augment(x, ("contrast", "flip"), 1.0, draw())
    mirrored = (drawn(6)["flip"] < 0)[None, :, None, None, None]
    torch.testing.assert_close(both, torch.where(mirrored, alone.flip(-1), alone))


def texts() -> Tensor:
    """``[2, 200, 12]``: ``[CLS]``, one to nine pieces (some unknown), ``[SEP]``, padding."""
    x = torch.zeros(2, 200, 12, dtype=torch.int32)
    for i, row in enumerate(x.flatten(0, 1)):
        size = 1 + i % 9
        row[: size + 2] = torch.tensor([101, *(100 + 1000 * k for k in range(size)), 102])
    return x


def test_dropped_pieces_leave_one_at_least_in_order_with_padding_at_the_end():
    x = texts()
    found = augment(x, SENTENCES, 1.0, draw())
    assert found.shape == x.shape and found.dtype == x.dtype
    kept = all_content = 0
    for old, new in zip(x.flatten(0, 1).tolist(), found.flatten(0, 1).tolist(), strict=True):
        content, left = ([p for p in row if p not in (0, 101, 102)] for row in (old, new))
        rest = iter(content)
        assert left and all(piece in rest for piece in left), "some of them, in their order"
        assert new == [101, *left, 102] + [0] * (10 - len(left))
        if len(content) == 9:
            kept, all_content = kept + len(left), all_content + 9
    assert kept / all_content == pytest.approx(0.8, abs=0.05)
    assert torch.equal(augment(x[:1, :7], SENTENCES, 1.0, draw()), found[:1, :7])


def test_a_text_loses_never_all_pieces_even_at_any_share():
    x = texts()
    everything = torch.ones(x.shape[1:], dtype=torch.bool)
    rank = torch.rand(x.shape[1:], generator=draw())
    left = augmentation.without_pieces(x, everything, rank)
    assert (((left != 0) & (left != 101) & (left != 102)).sum(-1) == 1).all()
    empty = torch.tensor([[[101, 102, 0]]], dtype=torch.int32)
    found = augmentation.without_pieces(empty, everything[:1, :3], rank[:1, :3])
    assert torch.equal(found, empty)


@pytest.mark.parametrize(
    ("kind", "declared"), [("image", "flop"), ("image", "pieces"), ("text", "flip")]
)
def test_a_builder_declares_what_there_is_for_its_kind(kind, declared):
    with pytest.raises(InputError, match=f"dataset mine: augmentation: '{declared}'.*Choose of"):
        Builder("mine", kind, "–", augmentation=(declared,))
    assert Builder("mine", "vector", "–").augmentation == ()
