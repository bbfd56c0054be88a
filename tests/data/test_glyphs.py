from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from metabench.data import glyphs
from metabench.data.base import Dataset


@pytest.fixture(scope="module")
def rendered() -> list[glyphs.Glyph]:
    return glyphs.render_all()


@pytest.fixture(scope="module")
def dataset(rendered) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "render_all", lambda: rendered)  # once is enough: some seconds
        return glyphs.GLYPHS.build(Path("unused"))


@pytest.fixture(scope="module")
def kept(rendered) -> list[glyphs.Glyph]:
    return glyphs.distinct(rendered, glyphs.SCRIPTS)


def test_every_partition_has_many_classes_and_no_script_is_in_two(dataset):
    counts = {p: len(dataset.class_ids(p)) for p in ("train", "val", "test")}
    total = sum(counts.values())
    assert total > 500
    assert 0.55 < counts["train"] / total < 0.70
    assert counts["val"] / total > 0.10
    assert counts["test"] / total > 0.18
    partitions = {}
    for c in dataset.classes:
        assert partitions.setdefault(c.group, c.partition) == c.partition
    assert sum(p == "test" for p in partitions.values()) >= 5


def test_images_are_28_by_28_bytes_with_bright_ink_twenty_a_class(dataset):
    assert dataset.x.dtype == np.uint8
    assert dataset.x.shape[1:] == (1, 28, 28)
    assert (np.bincount(dataset.y) == 20).all()
    flat = dataset.x.reshape(len(dataset.x), -1)
    assert (flat.max(1) > 100).all(), "an example is blank"
    assert np.median(flat.mean(1)) < 100, "the background is dark"


def test_no_two_examples_are_equal(dataset):
    flat = dataset.x.reshape(len(dataset.x), -1)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_an_example_depends_on_its_name_alone(dataset, kept):
    again = glyphs.examples(kept[7])
    np.testing.assert_array_equal(again, dataset.x[dataset.y == 7][:, 0])


def test_characters_that_look_alike_are_one_class(dataset):
    names = {c.name for c in dataset.classes}
    assert "LATIN CAPITAL LETTER A" in names
    assert "GREEK CAPITAL LETTER ALPHA" not in names
    assert "CYRILLIC CAPITAL LETTER A" not in names
    assert "LATIN SMALL LETTER S" not in names, "same as the capital up to size"
    assert "OLD ITALIC LETTER KA" not in names, "a Latin K in a test script"
    assert "NKO DIGIT ZERO" not in names, "a Latin O"
    assert "LATIN CAPITAL LETTER A WITH ACUTE" not in names


def test_no_european_digit_is_a_class_since_the_digits_dataset_is_a_target(dataset):
    assert not [c.name for c in dataset.classes if c.name.startswith("DIGIT ")]


def test_no_two_classes_in_different_partitions_have_nearly_equal_undistorted_images(kept):
    rows = [g for g in kept if "DejaVuSans" in g.faces]
    # an independent measure: the share of ink that two images have in common (Jaccard index)
    ink = np.stack([g.faces["DejaVuSans"].ravel() > 0.5 for g in rows]).astype(np.float32)
    shared = ink @ ink.T
    areas = ink.sum(1)
    jaccard = shared / (areas[:, None] + areas - shared)
    partition = np.array([glyphs.SCRIPTS[g.script] for g in rows])
    assert jaccard[partition[:, None] != partition].max() < 0.9


def test_a_glyph_that_no_font_draws_is_no_class(rendered):
    assert all(face.max() > 0.3 for g in rendered for face in g.faces.values())


def test_raw_pixels_do_not_solve_one_shot_episodes(dataset):
    draw = np.random.default_rng(0)
    members = dataset.members("test")
    x = dataset.x.reshape(len(dataset.x), -1) / np.float32(255)
    hits = []
    for _ in range(300):
        rows = [draw.permutation(members[c]) for c in draw.permutation(len(members))[:5]]
        support = x[[r[0] for r in rows]]
        query = x[np.stack([r[1:] for r in rows])]
        distance = ((query[:, :, None] - support) ** 2).sum(-1)
        hits.append(distance.argmin(-1) == np.arange(5)[:, None])
    assert 0.40 < np.mean(hits) < 0.65


def test_other_splits_are_whole_scripts_of_similar_sizes_each_time_others(kept):
    usual = Counter(glyphs.SCRIPTS[g.script] for g in kept)
    counts = Counter(g.script for g in kept)
    drawn = [glyphs.drawn_anew(counts, split) for split in (1, 2, 3)]
    assert len({tuple(sorted(found.items())) for found in [glyphs.SCRIPTS, *drawn]}) == 4
    for found in drawn:
        assert set(found) == set(glyphs.SCRIPTS)
        for part, slack in glyphs.SLACK.items():
            size = sum(n for script, n in counts.items() if found[script] == part)
            assert abs(size - usual[part]) <= slack * usual[part]
