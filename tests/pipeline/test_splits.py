"""Splits of the classes: seeds are dealt out among them, each has data and episodes of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.config import Config, disagreements, of_text
from metabench.config.messages import refuse
from metabench.data import Dataset
from metabench.data.base import Builder
from metabench.files import InputError
from metabench.pipeline.cells import train_cell
from metabench.pipeline.data_cells import freeze_cell, prepare_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE
from metabench.pipeline.results import collect
from metabench.pipeline.splits import data_cells, in_split
from metabench.reports.scores import blocks_of, condense
from metabench.reports.summary import summarise
from tests.toy import params, toy_dataset

NAME = "tests.pipeline.test_splits:SPLIT"
FIXED = "tests.toy:TOY"
DONE = {
    "download": prepare_cell,
    "freeze": freeze_cell,
    "train": train_cell,
    "evaluate": evaluate_cell,
}


def split_anew(raw: Path, split: int) -> Dataset:
    """The toy dataset with its partitions dealt out to other classes."""
    toy = toy_dataset()
    parts = [c.partition for c in toy.classes]
    classes = zip(toy.classes, parts[split:] + parts[:split], strict=True)
    return replace(toy, classes=tuple(replace(c, partition=p) for c, p in classes))


SPLIT = Builder("split", "image", "made up", lambda raw: toy_dataset(), split_anew=split_anew)


def config_of(splits: int = 2, **changes: Any) -> Config:
    values = params(seeds=[0, 1, 2, 3], splits=splits, settings={}, **changes)
    values["classification"] |= {"sources": [NAME], "targets": [FIXED]}
    values["classification"]["methods"] = ["nearest_neighbour", "majority"]
    return Config.model_validate(values)


def compute(config: Config, layout: Layout) -> list[str]:
    """Compute what is not finished, as the stages do; the names of the jobs."""
    ran = []
    for step, function in DONE.items():
        data = step in ("download", "freeze")
        cells = data_cells(config, config.used) if data else WHOLE.learners(config)
        for job in jobs_of(step, cells, config, layout):
            if not job.finished:
                function(lambda share, text: None, **job.arguments)
                ran.append(job.name.replace(NAME, "split").replace(FIXED, "fixed"))
    return ran


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """A project of two splits, computed."""
    layout = Layout(tmp_path_factory.mktemp("splits"))
    ran = compute(config_of(), layout)
    assert ran[:6] == [
        "download split", "download split/1", "download fixed",
        "freeze split", "freeze split/1", "freeze fixed",
    ]  # fmt: skip
    return layout


def test_seeds_are_dealt_out_and_a_dataset_with_one_split_stays_as_it_is(layout) -> None:
    config = config_of()
    assert [config.split_of(seed) for seed in config.seeds] == [0, 1, 0, 1]
    one, other = (in_split(config, layout, config.split_of(seed)) for seed in (0, 1))
    found = [Dataset.load(at.processed(NAME)) for at in (one, other)]
    np.testing.assert_array_equal(found[0].x, found[1].x)
    assert set(found[0].class_ids("test")) != set(found[1].class_ids("test"))
    assert one.processed(FIXED) == other.processed(FIXED)


def test_a_result_is_of_the_episodes_of_its_split(layout) -> None:
    results, _ = collect(config_of(), layout)
    hashes = results.groupby(["target", "seed"])["episode_hash"].first().unstack()
    assert hashes.loc[NAME, 0] == hashes.loc[NAME, 2] != hashes.loc[NAME, 1]
    assert hashes.loc[FIXED].nunique() == 1
    assert results.groupby("seed")["split"].first().tolist() == [0, 1, 0, 1]


def test_episodes_of_a_split_of_its_own_are_nested_and_others_crossed(layout) -> None:
    results, records = collect(config_of(), layout)
    scores = condense(results)
    blocks = blocks_of(scores, records)
    own, fixed = blocks[NAME, NAME, 5, 1], blocks[NAME, FIXED, 5, 1]
    assert own.splits == fixed.splits == (0, 1, 0, 1)
    assert own.nested and not fixed.nested
    table = summarise(scores, records, blocks)
    assert (table["splits"] == 2).all() and (table["half_here"] <= table["half"]).all()


def test_a_second_look_computes_nothing_and_split_0_is_what_one_split_would_be(layout) -> None:
    assert compute(config_of(), layout) == []
    several, alone = (Keys(config_of(splits), layout) for splits in (2, 1))
    cell = NAME, "nearest_neighbour", 0
    assert several.result(*cell) == alone.result(*cell)


def test_a_split_without_a_seed_is_named() -> None:
    text = """
profile: p
reports: reports
seeds: [0, 3]
splits: 3
classification: {sources: [glyphs], methods: [protonet]}
"""
    with pytest.raises(InputError, match="splits: no seed belongs to split 1"):
        refuse(disagreements(of_text(text, "params.yaml")), "params.yaml")
