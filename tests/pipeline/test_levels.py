"""Several budgets: which levels there are, what learners of a level see, and what is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from metabench.config import Budget, Config, Level, of_text
from metabench.episodes.sampling import ArraySource
from metabench.files import InputError
from metabench.pipeline.cells import pretrain_cell, train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.jobs import jobs_of
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.part import WHOLE
from metabench.pipeline.results import collect, of_level
from metabench.pipeline.trials import TrialLayout
from metabench.pipeline.validation import validate_names
from tests.toy import TOY_NAME, params, prepared, toy_dataset

METHODS = ["protonet", "linear_probe", "majority"]


def config_of(**budget: Any) -> Config:
    """The toy config with this budget."""
    values = params(settings={TOY_NAME: {"protonet": {"queries": 3, "ways": 5, "tasks": 1}}})
    values["classification"]["methods"] = METHODS
    values["classification"]["budget"] |= budget
    return Config.model_validate(values)


def silent(share: float, text: str) -> None:
    pass


def test_each_axis_is_varied_by_itself_around_the_middle() -> None:
    budget = Budget(examples=[9, 300, 40], source_classes=[0.1, 1.0, 0.3])
    assert budget.level == Level(40, 1.0)
    assert set(budget.levels) == {
        Level(9), Level(40), Level(300), Level(40, 0.1), Level(40, 0.3),
    }  # fmt: skip
    assert [str(level) for level in budget.levels][:2] == ["9-examples", "40-examples-0.1-classes"]
    assert Budget(examples=[9, 40]).level == Level(9), "the lower of two"
    assert Budget(examples=7).levels == (Level(7),)


def test_one_number_and_a_list_of_one_are_the_same_and_are_written_without_brackets() -> None:
    assert config_of(examples=400) == config_of(examples=[400])
    assert config_of(examples=400).values()["classification"]["budget"]["examples"] == 400
    assert config_of(examples=[4, 5]).values()["classification"]["budget"]["examples"] == [4, 5]
    assert Config.model_validate(config_of(examples=[4, 5]).values()) == config_of(examples=[4, 5])


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ("examples: []", "must not be empty"),
        ("examples: [5, 5]", "5 is there twice"),
        ("source_classes: 0", "must be above 0"),
        ("source_classes: [0.5, 2]", "must be at most 1"),
    ],
)
def test_a_budget_that_is_none_is_named(budget, reason) -> None:
    text = f"""
profile: p
reports: reports
classification:
  sources: [glyphs]
  methods: [protonet]
  budget: {{{budget}}}
"""
    with pytest.raises(InputError, match=f"classification.budget.*{reason}"):
        of_text(text, "params.yaml")


def test_tasks_without_classes_have_no_share_of_them() -> None:
    values = params(settings={})
    values["regression"] = {
        "sources": ["sinusoid"], "methods": ["maml"], "budget": {"source_classes": 0.5},
    }  # fmt: skip
    with pytest.raises(InputError, match=r"regression\.budget\.source_classes: there are no cl"):
        validate_names(Config.model_validate(values))


def test_smaller_shares_are_nested_in_larger_ones_and_other_examples_are_not_read() -> None:
    dataset = toy_dataset()
    x = np.zeros_like(dataset.x)
    x[:] = dataset.y[:, None, None, None]  # an image of a class is its number
    dataset = replace(dataset, x=x)
    seen = {
        (seed, share): set(
            ArraySource(dataset, seed, torch.device("cpu"), share).x.unique().tolist()
        )
        for seed in range(8)
        for share in (1 / 3, 0.5, 1.0)
    }
    for seed in range(8):
        few, half, all_ = (seen[seed, share] for share in (1 / 3, 0.5, 1.0))
        assert (len(few), len(half), all_) == (2, 3, set(range(6)))
        assert few < half < all_
    assert len({frozenset(seen[seed, 0.5]) for seed in range(8)}) > 1, "a seed draws its own"


def test_labels_are_numbered_anew_and_statistics_see_the_share_alone() -> None:
    source = ArraySource(toy_dataset(), 0, torch.device("cpu"), 0.5)
    assert source.classes == 3 and set(source.y.tolist()) == {0, 1, 2}
    features, labels = source.features(lambda x: x.flatten(2))
    assert len(features) == len(labels) == 36
    assert set(source.batch(0, 36).y.tolist()) == {0, 1, 2}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Layout:
    """A project that has computed its only level."""
    layout = prepared(tmp_path_factory.mktemp("levels"), config_of())
    compute(config_of(), Layout(layout.root))
    return Layout(layout.root)


def compute(config: Config, layout: Layout) -> list[str]:
    """Compute what is not finished, as the stages do; the names of the jobs."""
    work = {"pretrain": pretrain_cell, "train": train_cell, "evaluate": evaluate_cell}
    ran = []
    for step, function in work.items():
        cells = WHOLE.backbones(config) if step == "pretrain" else WHOLE.learners(config)
        for job in jobs_of(step, cells, config, layout):
            if not job.finished:
                function(silent, **job.arguments)
                ran.append(job.name.replace(f"{TOY_NAME}/", ""))
    return ran


def test_a_level_more_computes_its_own_cells_and_who_spends_nothing_is_computed_once(
    project,
) -> None:
    more = config_of(examples=[100, 400])
    assert compute(more, project) == [
        "pretrain recipe0-share1/100-examples/0",
        "train protonet/100-examples/0",
        "train linear_probe/100-examples/0",
        "evaluate protonet/100-examples/0",
        "evaluate linear_probe/100-examples/0",
    ]
    assert compute(more, project) == [] and compute(config_of(), project) == []
    results, records = collect(more, project)
    for level, spent in ((Level(100), 100), (Level(400), 400)):
        assert set(of_level(results, level)["method"]) == set(METHODS)
        costs = of_level(records, level).set_index("method")["examples"]
        assert costs["majority"] == 0
        assert spent <= costs["protonet"] < spent + 25
        assert spent <= costs["linear_probe"] < spent + 32
    scores = results.groupby(["method", "examples_budget"])["value"].mean()
    assert scores["majority", 100] == scores["majority", 400]


def test_the_main_level_is_what_is_tuned_and_its_keys_are_those_of_it_alone(project) -> None:
    several, alone = config_of(examples=[100, 400, 900]), config_of(examples=400)
    keys = [Keys(config, project).learner(TOY_NAME, "protonet", 0) for config in (several, alone)]
    assert keys[0] == keys[1]
    assert Keys(several.at(Level(900)), project).learner(TOY_NAME, "protonet", 0) != keys[0]
    trial = TrialLayout(project.root, "t", level=Level(400))
    assert trial.at(Level(900)).backbone(TOY_NAME, "p", 0).parts[-3] == "900-examples"  # type: ignore[arg-type]
    free = [
        Keys(c, project).learner(TOY_NAME, "majority", 0) for c in (alone, config_of(examples=5))
    ]
    assert free[0] == free[1]


def test_a_share_that_leaves_fewer_classes_than_ways_is_named(project) -> None:
    config = config_of(source_classes=[0.5, 1.0]).at(Level(400, 0.5))
    with pytest.raises(InputError, match=r"0\.5 of the training classes of .* are 3, but .* is 5"):
        train_cell(silent, config, project, TOY_NAME, "protonet", 0)
