from __future__ import annotations

import numpy as np
import pytest

from benchmarks.worlds import World, camps
from metabench.reports.statistics.champions import (
    LEAST_TRIES,
    allowance,
    champions,
    choice,
    robustness,
    weighted,
)
from metabench.reports.statistics.intervals import estimates
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores

NAMES = ("protonet", "maml", "anil", "reptile", "probe", "ridge", "knn", "lda", "feat")
CAMPS = {
    "meta-learning": NAMES[:4], "transfer": NAMES[4:8], "hybrids": ("feat", "not run"), "none": (),
}  # fmt: skip
TRUTH = (0.80, 0.60, 0.60, 0.60, 0.70, 0.69, 0.69, 0.68, 0.65)
VALIDATION = dict(zip(NAMES, TRUTH, strict=True))


def block(truth=TRUTH) -> Block:
    return Block(NAMES, (scores(truth, np.random.default_rng(0), 5, 600, 0.01),))


def test_camps_are_compared_by_the_champions_that_val_chose() -> None:
    found = champions(block(), VALIDATION, CAMPS)
    assert found.camps == ("meta-learning", "transfer", "hybrids")
    assert found.chosen == (("protonet",), ("probe",), ("feat",))
    assert found.comparison.words.tolist() == ["best", "behind", "behind"]
    other = champions(block(), VALIDATION | {"maml": 0.9}, CAMPS)
    assert other.chosen[0] == ("maml",) and other.comparison.words[0] != "best"


def test_a_verdict_that_rests_on_one_method_does_not_survive_without_it() -> None:
    found = robustness(block(), VALIDATION, CAMPS)
    assert list(found) == [
        "champions", "without protonet", "without probe", "without feat", "best three",
    ]  # fmt: skip
    words = {name: test.comparison.words.tolist() for name, test in found.items()}
    assert words["champions"][0] == words["without probe"][0] == "best"
    assert words["without protonet"] == ["behind", "best", words["without protonet"][2]]
    assert found["without feat"].camps == ("meta-learning", "transfer")
    assert found["best three"].chosen[1] == ("probe", "ridge", "knn")
    assert found["best three"].comparison.difference.mean[0] == pytest.approx(0.03, abs=0.02)


def test_methods_that_share_a_learner_are_as_uncertain_together_as_alone() -> None:
    table = scores(TRUTH, np.random.default_rng(0), 5, 600, 0.01)
    apart = Block(NAMES, (table,))
    together = Block(NAMES, (table,), shared=dict.fromkeys(NAMES[4:8], "backbone"))
    three = choice(np.array(TRUTH), [4, 5, 6, 7], 3)[None]
    alone = choice(np.array(TRUTH), [4, 5, 6, 7])[None]
    moderated = {
        name: weighted(estimates(block.moments()), weights).seeds.moderated.variance[0]
        for name, block, weights in (
            ("apart", apart, three), ("together", together, three), ("alone", together, alone),
        )
    }  # fmt: skip
    assert moderated["apart"] < 0.5 * moderated["together"]
    assert moderated["together"] == pytest.approx(moderated["alone"], rel=0.5)


def test_one_camp_is_no_comparison() -> None:
    assert champions(block(), VALIDATION, {"transfer": NAMES[4:8]}) is None
    assert robustness(block(), VALIDATION, {"transfer": NAMES[4:8]}) == {}


def test_choice_by_hand() -> None:
    scores_ = np.array([0.1, 0.9, 0.8, 0.7, -np.inf])
    assert choice(scores_, [0, 2, 3]).tolist() == [0, 0, 1, 0, 0]
    assert choice(scores_, [0, 2, 3], 2).tolist() == [0, 0, 0.5, 0.5, 0]
    assert choice(scores_, [4]).tolist() == [0, 0, 0, 0, 1]


def test_the_luck_that_chose_a_champion_raises_no_false_alarm() -> None:
    world = World((1.5,) * 31, 5)
    allowed, ignored = (camps((30, 1), world, 1000, allow=a)["alarms"] for a in (True, False))
    assert allowed <= 6 < 8 < ignored


def test_a_champion_counts_as_chosen_of_those_that_may_be_the_best_of_its_camp() -> None:
    found = estimates(block().moments())
    clear, open_ = allowance(found, [[0, 1, 2, 3], [5, 6]])
    assert clear == LEAST_TRIES < open_ == pytest.approx(2**0.75)
    assert allowance(found, [[0], [5, 6]], same_learners=False).tolist() == [LEAST_TRIES] * 2


def test_camps_3_point_5_apart_are_told_with_five_seeds() -> None:
    truth = (0, *[-6] * 3, -3.5, *[-9] * 3, -3.5, *[-9] * 3)
    assert camps((4, 4, 4), World((1.5,) * 12, 5, truth=truth), 1000)["power"] >= 75
