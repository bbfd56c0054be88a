"""What stages depend on: the code of each, wherever it lives."""

from __future__ import annotations

from functools import reduce
from operator import getitem

import pytest

from metabench.config import Config
from metabench.pipeline.planning import fingerprints
from tests.toy import TOY_NAME, params


@pytest.mark.case("01")
def test_each_stage_depends_on_the_code_that_does_its_work() -> None:
    values = params()
    values["classification"]["methods"] = ["protonet", "linear_probe"]
    found = fingerprints(Config.model_validate(values))
    evaluating = {"metabench.pipeline.evaluating", "metabench.learning.metrics.regression"}
    training = {"metabench.pipeline.cells", "metabench.learning.training"}
    expected = {
        ("download", TOY_NAME): {"metabench.data.download", "tests.toy"},
        ("episodes", TOY_NAME): {
            "metabench.episodes.frozen_episodes",
            "metabench.episodes.sampling",
        },
        ("pretrain", TOY_NAME, "recipe0-share1"): training,
        ("train", TOY_NAME, "protonet"): training,
        ("evaluate", TOY_NAME): evaluating,
        ("aggregate",): {
            "metabench.pipeline.results",
            "metabench.reports.leaderboard",
            "metabench.reports.page: templates/index.html.j2",
            "metabench.tracking.best",
        },
    }
    for place, code in expected.items():
        assert code <= set(reduce(getitem, place, found)["code"]), place
