"""BANKING77 (Casanueva et al. 2020): questions of a bank's customers, 77 intents of one domain."""

from __future__ import annotations

import csv
from pathlib import Path

from metabench.data.archives import damaged
from metabench.data.base import SENTENCES, Builder, ClassInfo, Dataset, RemoteFile
from metabench.data.text import assign, pack

_URL = "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/{}"
SIZES = {"train": 37, "val": 15, "test": 25}


def read(path: Path) -> list[tuple[str, str]]:
    """``(text, intent)`` of each line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(line["text"], line["category"]) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise damaged(path, error) from error


def build(raw: Path, split: int = 0) -> Dataset:
    """37 intents train, 15 are ``val``, 25 ``test`` (25 and 25 of 77: Dopierre et al. 2021)."""
    test, train = read(raw / "test.csv"), read(raw / "train.csv")
    intents = sorted({intent for _, intent in train})
    if len(intents) != sum(SIZES.values()) or {i for _, i in test} != set(intents):
        raise damaged(raw / "train.csv", f"{len(intents)} intents, expected 77 in both files")
    part = assign(intents, SIZES, "banking77", split)  # type: ignore[arg-type]
    classes = {i: ClassInfo(i, "banking", part[i]) for i in intents}
    official = slice(0, len(test)), slice(len(test), None)
    return pack("banking77", [*test, *train], classes, 64, *official)


BANKING77 = Builder(
    "banking77",
    "text",
    "Casanueva et al. 2020, Efficient Intent Detection with Dual Sentence Encoders",
    build,
    (
        RemoteFile(
            _URL.format("train.csv"),
            "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
            "train.csv",
        ),
        RemoteFile(
            _URL.format("test.csv"),
            "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
            "test.csv",
        ),
    ),
    augmentation=SENTENCES,
    split_anew=build,
)
