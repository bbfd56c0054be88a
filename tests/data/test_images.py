"""Images of any make, read alike from a path, bytes, PIL or an array."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from metabench.data.images import as_batch, decode


@pytest.mark.case("22")
@pytest.mark.xfail(strict=True)
def test_a_path_its_bytes_and_pil_are_read_alike_whatever_the_file_holds(tmp_path) -> None:
    grey = np.arange(300, dtype=np.uint8).reshape(15, 20)
    picture = Image.fromarray(grey).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {"p.png": picture.convert("P"), "a.png": picture.convert("RGBA"), "r.jpg": picture}
    files |= {"i.png": Image.fromarray(grey.astype(np.uint16) * 257), "l.png": Image.fromarray(grey)}
    for name, image in files.items():
        path = tmp_path / name
        image.save(path, **({"exif": turned} if name == "r.jpg" else {}))
        given = [path, str(path), path.read_bytes(), Image.open(path)]
        x = as_batch(given, (1, 20, 20)).x.numpy()
        assert (x == as_batch([decode(path)], (1, 20, 20)).x.numpy()).all()
    assert decode(tmp_path / "r.jpg").shape == (3, 20, 15)


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
@pytest.mark.xfail(strict=True)
def test_forty_photographs_are_read_in_little_memory(tmp_path) -> None:
    read, skipped, more, _ = photographs(tmp_path, 40)
    assert (read, skipped) == (40, 0)
    assert more < 150  # as they are: 40 × 36 MB
