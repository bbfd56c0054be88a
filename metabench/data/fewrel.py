"""FewRel (Han et al. 2018; 2.0: Gao et al. 2019): which relation holds between two entities.

The first entity stands between ``$`` marks and the second between ``#`` marks (Wu & He 2019,
R-BERT), so that one sentence with two pairs of entities makes two different texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from metabench.data.archives import damaged
from metabench.data.base import Builder, ClassInfo, Dataset, Partition, RemoteFile
from metabench.data.text import assign, pack
from metabench.files import InputError, read_json

_URL = "https://raw.githubusercontent.com/thunlp/FewRel/master/data/{}"
LENGTH = 96
HASHES = {
    "train_wiki.json": "8e9e58a05d559be773cbe18a8d4a16ba17e6d397663f9f05a056f894a94b92c1",
    "val_wiki.json": "76bb44c2485b6faed358a3ce040eadafcc8a8835245cd7e6afc1bef672d4a0bf",
    "val_pubmed.json": "fc0f13b534f6664fe0d8aec231d7590313bc6510d00dbc1b6746147f6a2b46e6",
    "val_nyt.json": "b519adc61a2bab0f05178e33a3cd8f284338b635629493e9e09616ba81bb428e",
    "val_semeval.json": "fd79cf35481f6596c23b92cd3ded3265481f3027a4b78d99921104f8fe632eb5",
}
"""SHA-256 of each file, as also listed by the data set's card (huggingface/datasets, few_rel)."""


def marked(example: Mapping[str, Any]) -> str:
    """The sentence with its two entities between marks (each at its first mention)."""
    words = list(example["tokens"])
    for entity, mark in (("h", "$"), ("t", "#")):
        place = example[entity][2][0]
        words[place[0]] = f"{mark} {words[place[0]]}"
        words[place[-1]] = f"{words[place[-1]]} {mark}"
    return " ".join(words)


def read(path: Path) -> list[tuple[str, str]]:
    """``(marked sentence, relation)`` of each example."""
    try:
        data = read_json(path)
        return [(marked(e), relation) for relation, examples in data.items() for e in examples]
    except (InputError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error


def _pack(name: str, examples: list[tuple[str, str]], part: Mapping[str, Partition]) -> Dataset:
    classes = {r: ClassInfo(r, name, p) for r, p in sorted(part.items())}
    return pack(name, examples, classes, LENGTH)


def build(raw: Path) -> Dataset:
    """As published: 64 relations to train on and 16 others, here the test.

    The published test is hidden. 14 of the 64 are ``val``, drawn by us.
    """
    train, test = read(raw / "train_wiki.json"), read(raw / "val_wiki.json")
    known = sorted({r for _, r in train})
    part = assign(known, {"train": len(known) - 14, "val": 14}, "fewrel")
    return _pack("fewrel", [*test, *train], part | dict.fromkeys([r for _, r in test], "test"))


def build_development(raw: Path) -> Dataset:
    """A class-disjoint split of ``val_wiki`` alone: 6 relations train, 5 are ``val``, 5 ``test``.

    For development without ``train_wiki``: its figures are not those of FewRel.
    """
    examples = read(raw / "val_wiki.json")
    known = sorted({r for _, r in examples})
    part = assign(known, {"train": len(known) - 10, "val": 5, "test": 5}, "fewrel_dev")
    return _pack("fewrel_dev", examples, part)


def build_target(name: str, file: str, smallest: int, raw: Path) -> Dataset:
    """Another domain, all of it ``test``; relations with fewer examples are left out."""
    examples = read(raw / file)
    counts: dict[str, int] = {}
    for _, relation in examples:
        counts[relation] = counts.get(relation, 0) + 1
    kept = [e for e in examples if counts[e[1]] >= smallest]
    return _pack(name, kept, dict.fromkeys([r for _, r in kept], "test"))


def _builder(name: str, citation: str, build: Any, *files: str) -> Builder:
    remote = tuple(RemoteFile(_URL.format(f), HASHES[f], f) for f in files)
    return Builder(name, "text", citation, build, remote, mirror="fewrel")


_FIRST = "Han et al. 2018, FewRel"
_SECOND = "Gao et al. 2019, FewRel 2.0"


def _target(name: str, file: str, citation: str = _SECOND, smallest: int = 50) -> Builder:
    return _builder(name, citation, partial(build_target, name, file, smallest), file)


FEWREL = _builder("fewrel", _FIRST, build, "train_wiki.json", "val_wiki.json")
FEWREL_DEV = _builder("fewrel_dev", _FIRST, build_development, "val_wiki.json")
PUBMED = _target("fewrel_pubmed", "val_pubmed.json")
NYT = _target("fewrel_nyt", "val_nyt.json")
SEMEVAL = _target("fewrel_semeval", "val_semeval.json")
