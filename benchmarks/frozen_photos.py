"""What EfficientNet-Lite0 knows of photographs: nearest class means on its frozen vectors.

5-way episodes, 1 or 5 shots, 15 queries, vectors at unit length; birds, flowers and traffic signs
from the zips (a folder a class) in the folder ``photos`` of a mirror, all classes of a zip that
have enough images; of birds every fourth, as the others would be a source's.

    python -m benchmarks.frozen_photos MIRROR/photos [RESOLUTION …]
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from metabench.config import BackboneChoice
from metabench.data.base import ClassInfo, Dataset
from metabench.episodes import class_means
from metabench.episodes.frozen_episodes import freeze
from metabench.pipeline.embeddings import embed

PHOTOS = {
    "signs": "gtsrb_tracks_32.zip",
    "birds": "cub200_2010_84.zip",
    "flowers": "flowers102_64.zip",
}
EPISODES, WAYS, QUERIES = 600, 5, 15


def photos(folder: Path, name: str) -> Dataset:
    """The images of ``name`` as they lie in the zip; every class is a test class."""
    with zipfile.ZipFile(folder / PHOTOS[name]) as file:
        members = [m for m in sorted(file.namelist()) if not m.endswith("/")]
        labels = [m.split("/")[-2] for m in members]
        classes = [c for c in sorted(set(labels)) if labels.count(c) >= 5 + QUERIES]
        classes = classes[3::4] if name == "birds" else classes
        kept = [(m, classes.index(c)) for m, c in zip(members, labels, strict=True) if c in classes]
        pixels = [np.array(Image.open(file.open(m)).convert("RGB")) for m, _ in kept]
    x = np.stack(pixels).transpose(0, 3, 1, 2)
    infos = tuple(ClassInfo(c, name, "test") for c in classes)
    return Dataset(name, "image", x, np.array([label for _, label in kept]), infos)


def accuracies(dataset: Dataset, vectors: np.ndarray, shots: int) -> np.ndarray:
    """Accuracy of nearest class means in each episode, ``[600]``."""
    frozen = freeze(dataset, "test", WAYS, shots, QUERIES, EPISODES, "")
    unit = F.normalize(torch.from_numpy(vectors), dim=-1)
    e, labels = frozen.episodes(slice(0, EPISODES), unit)
    means = class_means(e.support_x, e.support_y, WAYS)
    nearest = torch.cdist(e.query_x, means).argmin(-1)
    return (nearest == labels).double().mean(1).numpy()


def half_width(accuracy: np.ndarray) -> float:
    """Of the 95 % interval of a mean over episodes."""
    return 1.96 * float(accuracy.std(ddof=1)) / len(accuracy) ** 0.5


def main(folder: Path, resolutions: list[int]) -> None:
    """Print mean and 95 % interval over episodes of every set of photographs, by resolution."""
    for resolution in resolutions:
        settings = {"resolution": resolution}
        choice = BackboneChoice(name="efficientnet_lite0_frozen", settings=settings)
        for name in PHOTOS:
            dataset = photos(folder, name)
            vectors = embed(choice, dataset.x)
            found = [accuracies(dataset, vectors, shots) for shots in (1, 5)]
            scores = [f"{100 * a.mean():.1f} ± {100 * half_width(a):.1f}" for a in found]
            size = f"{len(dataset.classes)} classes, {len(dataset.x)} images"
            print(f"{name}, {size}, {resolution} px:", " / ".join(scores), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(side) for side in sys.argv[2:]] or [84])
