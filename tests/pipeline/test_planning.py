"""What stages depend on: the code of each, wherever it lives."""

from __future__ import annotations

import pytest

from metabench.pipeline.planning import fingerprints
from tests.toy import TOY_NAME, toy_config


@pytest.mark.case("01")
def test_each_stage_depends_on_the_code_that_does_its_work() -> None:
    found = fingerprints(toy_config())
    expected = {
        f"datasets/{TOY_NAME}": {"metabench.data.download", "tests.toy"},
        f"episodes/{TOY_NAME}": {
            "metabench.episodes.frozen_episodes",
            "metabench.episodes.sampling",
        },
        f"pretrain/{TOY_NAME}": {"metabench.pipeline.cells", "metabench.learning.training"},
        f"train/{TOY_NAME}/protonet": {"metabench.pipeline.cells", "metabench.learning.training"},
        f"evaluate/{TOY_NAME}": {
            "metabench.pipeline.evaluating",
            "metabench.learning.metrics.regression",
        },
        "aggregate": {
            "metabench.pipeline.results",
            "metabench.reports.leaderboard",
            "metabench.reports.page: templates/index.html.j2",
            "metabench.tracking.best",
        },
    }
    assert {stage: code & set(found[stage]["code"]) for stage, code in expected.items()} == expected
