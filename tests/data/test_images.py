"""Images of any make, read alike from a path, bytes, PIL or an array."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from metabench.data.images import (
    COLOUR,
    DEPTH,
    FRAMES,
    SIDE,
    TRANSPARENCY,
    as_batch,
    decode,
    decode_base64,
    read_image,
)  # fmt: skip

GREY = np.arange(300, dtype=np.uint8).reshape(15, 20)
PICTURE = Image.fromarray(GREY).convert("RGB")


@pytest.mark.case("22")
def test_a_path_its_bytes_and_pil_are_read_alike_whatever_the_file_holds(tmp_path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {"p.png": PICTURE.convert("P"), "a.png": PICTURE.convert("RGBA"), "r.jpg": PICTURE}
    files |= {"i.png": Image.fromarray(GREY * np.uint16(257)), "l.png": Image.fromarray(GREY)}
    files |= {"c.tif": PICTURE.convert("CMYK"), "b.gif": PICTURE.convert("1")}
    for name, image in files.items():
        path = tmp_path / name
        image.save(path, **({"exif": turned} if name == "r.jpg" else {}))
        given = [path, str(path), path.read_bytes(), Image.open(path), path.open("rb")]
        x = as_batch(given, (1, 20, 20)).x.numpy()
        assert (x == as_batch([decode(path)], (1, 20, 20)).x.numpy()).all()
    for name in ("a.png", "i.png", "l.png"):
        assert (decode(tmp_path / name) == GREY).all()
    assert decode(tmp_path / "r.jpg").shape == (3, 20, 15)


@pytest.mark.parametrize(
    ("array", "lost"),
    [
        (GREY, False), (GREY[..., None], False), (GREY[None], False),
        (np.stack([GREY] * 3), False), (np.stack([GREY] * 3, -1), False),
        (np.stack([GREY, GREY * 0 + 255], -1), False), (GREY.tolist(), False),
        (GREY / 255, False), (GREY.astype(np.float32), False), (GREY / np.float32(300), True),
        (GREY * np.uint16(257), False), (GREY * np.uint16(256), False),
        (GREY * np.uint16(257) + 1 * (GREY < 99), True),
        (GREY * np.uint16(16) + GREY // 16, False), (GREY.astype(np.int32), False),
    ],
)  # fmt: skip
def test_an_array_of_any_layout_and_depth_is_the_image_it_was_made_from(array, lost) -> None:
    read = read_image(array)
    assert read.pixels.dtype == np.uint8 and read.pixels.shape[1:] == GREY.shape
    want = (GREY / 300 * 255).round() if lost and np.max(array) < 1 else GREY
    assert (read.pixels == want).all()
    assert read.losses == ((DEPTH,) if lost else ())


def test_white_is_the_same_for_all_images_of_a_call_and_the_next_ones() -> None:
    bright, dark = np.full((4, 5), 4000, np.uint16), np.full((4, 5), 160, np.uint16)
    batch = as_batch([dark, bright], (1, 4, 5))
    assert batch.x[:, 0, 0, 0].tolist() == [10, 250] and batch.white == {"whole": 4095}
    assert as_batch([dark], (1, 4, 5)).x.max() == 160  # by itself: 8 bits
    assert as_batch([dark], (1, 4, 5), batch.white).x.max() == 10
    with pytest.raises(ValueError, match=r"image 0: .* 5000, where white is 4095 in other images"):
        as_batch([dark + np.uint16(4840)], (1, 4, 5), batch.white)
    assert (read_image(GREY > 99).pixels == 255 * (GREY > 99)).all()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (np.zeros((3, 9, 3)), r"may be \[H, W, C\] or \[C, H, W\]"),
        (np.zeros((9, 9, 5)), "with 1 to 4 channels"),
        (np.zeros(9), r"must have shape .* this one has \[9\]"),
        (np.zeros((0, 4)), "must have shape"),
        (np.full((4, 4), np.nan), "values go from nan"),
        (np.full((4, 4), -0.5), "they must go from 0 to 255"),
        ([[0, 70_000]], "values go from 0 to 70000"),
        ([[1, 2], [3]], "rows of unequal lengths"),
        ({"a": 1}, "this one is dict"),
        ("no/such.png", r"no/such.png: not a readable image \(No such file"),
        (b"text", "of no format that Pillow knows"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "a program"),
    ],
)
def test_what_is_no_image_or_two_is_refused_with_the_reason(wrong, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        as_batch([wrong], (1, 8, 8))
    with pytest.raises(ValueError, match="must be a list of images, not one str"):
        as_batch("photo.png", (1, 8, 8))


def test_what_is_lost_is_named(tmp_path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert read_image(clear).losses == (TRANSPARENCY,) and (decode(clear) == 255).all()
    PICTURE.save(tmp_path / "two.gif", save_all=True, append_images=[PICTURE.rotate(180)])
    PICTURE.save(tmp_path / "two.tif", save_all=True, append_images=[PICTURE.rotate(180)])
    for name in ("two.gif", "two.tif"):
        assert read_image(tmp_path / name).losses == (FRAMES,)
        assert (decode(tmp_path / name) == GREY).all()
    red = Image.new("RGB", (4, 4), "red")
    assert as_batch([red, PICTURE], (1, 4, 4)).losses == {COLOUR: 1}
    assert not as_batch([red, PICTURE], (3, 4, 4)).losses
    assert TRANSPARENCY in read_image(np.zeros((6, 5, 4), np.uint8)).losses


def test_a_header_is_looked_at_before_anything_is_decoded(tmp_path, monkeypatch) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (2000, 2000)).save(path)
    assert read_image(path).pixels.shape == (1, SIDE, SIDE)  # the control
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="2000 × 2000 pixels are more than 1,000,000"):
        read_image(path, limit=1_000_000)
    with pytest.raises(ValueError, match="in base64: 2000 × 2000 pixels"):
        decode_base64(base64.b64encode(path.read_bytes()).decode(), limit=1_000_000)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_file_that_was_cut_off_is_refused_and_never_half_read(form) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)).save(file, form)
    content = file.getvalue()
    assert decode(content).shape[1:] == (40, 50)
    for share in (0.02, 0.5, 0.9):
        with pytest.raises(ValueError, match="not a readable image"):
            read_image(content[: int(share * len(content))])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 2), (300, 200)])
def test_small_images_keep_every_pixel_and_long_sides_are_reduced(size) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], np.uint8))
    found = decode(image)
    assert found.shape == (1, min(size[1], SIDE), min(size[0], SIDE))
    if max(size) <= SIDE:
        assert (found[0] == np.asarray(image)).all()
    assert abs(float(found.mean()) - float(np.asarray(image).mean())) < 2


MEMORY = """
from pathlib import Path
from metabench.data.own import read_images
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
before = peak()
own = read_images(Path("."))
print(len(own.examples), len(own.skipped), peak() - before, peak())
"""


def photographs(folder, count: int) -> tuple[int, int, int, int]:
    """Read ``count`` different photographs: how many, how many not, MB more than before, MB."""
    draw = np.random.default_rng(0)
    small = Image.fromarray(draw.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    small.resize((4032, 3024)).save(folder / "first.jpg", quality=50)
    content = (folder / "first.jpg").read_bytes()
    (folder / "first.jpg").unlink()
    table = content.index(b"\xff\xdb") + 5  # brightness is quantised by the first number
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        changed = bytes([4 + i % 20, 4 + i // 20])
        path.write_bytes(content[:table] + changed + content[table + 2 :])
    call = [sys.executable, "-c", MEMORY]
    shown = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True).stdout
    return tuple(map(int, shown.split()))


@pytest.mark.case("08")
def test_forty_photographs_are_read_in_little_memory(tmp_path) -> None:
    read, skipped, more, _ = photographs(tmp_path, 40)
    assert (read, skipped) == (40, 0)
    assert more < 150  # as they are: 40 × 36 MB


@pytest.mark.slow
@pytest.mark.case("08")
def test_a_thousand_photographs_are_read_in_less_than_a_gigabyte(tmp_path) -> None:
    read, skipped, _, peak = photographs(tmp_path, 1000)
    assert (read, skipped) == (1000, 0)
    assert peak < 1000
