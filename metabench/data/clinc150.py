"""CLINC150 (Larson et al. 2019): requests to an assistant, 150 intents of ten domains.

Beside them there are requests of no intent at all (out of scope), for the open-set figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metabench.data.archives import damaged
from metabench.data.base import SENTENCES, Builder, ClassInfo, Dataset, RemoteFile
from metabench.data.text import assign, pack
from metabench.files import InputError, read_json

_URL = "https://raw.githubusercontent.com/clinc/oos-eval/master/data/{}"
SIZES = {"train": 5, "val": 2, "test": 3}
"""Domains (of 15 intents each) of each partition: no domain stands in two."""
LENGTH = 64


def read(raw: Path) -> tuple[dict[str, list[tuple[str, str]]], dict[str, str]]:
    """``(text, intent)`` of each part, and the domain of each intent."""
    path = raw / "data_full.json"
    try:
        data: Any = read_json(path)
        parts = {part: [(text, intent) for text, intent in data[part]] for part in data}
        domain = {i: d for d, intents in read_json(raw / "domains.json").items() for i in intents}
        unknown = {i for p in ("train", "val", "test") for _, i in parts[p]} - set(domain)
        if unknown:
            raise ValueError(f"no domain for {sorted(unknown)[:3]}")
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error) from error
    return parts, domain


def build(raw: Path, split: int = 0) -> Dataset:
    """Five domains train, two are ``val``, three ``test``."""
    parts, domain = read(raw)
    part = assign(sorted(set(domain.values())), SIZES, "clinc150", split)  # type: ignore[arg-type]
    classes = {i: ClassInfo(i, d, part[d]) for i, d in sorted(domain.items())}
    test, val, train = parts["test"], parts["val"], parts["train"]
    official = slice(0, len(test)), slice(len(test) + len(val), None)
    return pack("clinc150", [*test, *val, *train], classes, LENGTH, *official)


def build_out_of_scope(raw: Path) -> Dataset:
    """The official out-of-scope test, one class."""
    parts, _ = read(raw)
    classes = {"oos": ClassInfo("oos", "out of scope", "test")}
    return pack("clinc150_oos", parts["oos_test"], classes, LENGTH)


CITATION = "Larson et al. 2019, An Evaluation Dataset for Intent Classification and OOS Prediction"
FILES = (
    RemoteFile(
        _URL.format("data_full.json"),
        "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
        "data_full.json",
    ),
    RemoteFile(
        _URL.format("domains.json"),
        "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",
        "domains.json",
    ),
)

CLINC150 = Builder(
    "clinc150", "text", CITATION, build, FILES, augmentation=SENTENCES, split_anew=build
)
OUT_OF_SCOPE = Builder(
    "clinc150_oos", "text", CITATION, build_out_of_scope, FILES, mirror="clinc150"
)
