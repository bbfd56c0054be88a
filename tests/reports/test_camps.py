from __future__ import annotations

import pandas as pd
import pytest

from metabench.methods import METHODS
from metabench.reports.camps import camp_of, compare_camps, form_for, in_words, validation_of
from metabench.reports.scores import blocks_of, condense
from tests.reports.synthetic import made_up

METHODS_OF = {
    "protonet": ("metric", 0.80), "maml": ("optimisation", 0.79), "cnp": ("model", 0.78),
    "linear_probe": ("feature", 0.70), "ridge": ("feature", 0.69), "fine_tune": ("parameter", 0.68),
}  # fmt: skip


def camp(name: str, external: bool = False, weights: int = 100) -> str:
    cls = METHODS.load(name)
    facts = {n: getattr(cls, n) for n in ("family", "source_training", "start")}
    trained = weights if cls.source_training != "none" else 0
    return camp_of(facts | {"external_pretraining": external, "trainable_parameters": trained})


def test_a_camp_is_what_a_method_declares() -> None:
    assert {camp(m) for m in ("protonet", "maml", "mann", "proto_maml")} == {"meta-learning"}
    assert {camp(m) for m in ("ridge", "rfs", "fine_tune", "baseline_plus_plus")} == {"transfer"}
    assert {camp(m) for m in ("feat", "meta_baseline", "pmf", "mtl")} == {"hybrid"}
    assert {camp(m) for m in ("scratch", "nearest_neighbour", "majority")} == {""}


def test_a_backbone_from_elsewhere_makes_a_hybrid_and_no_weights_no_meta_learner() -> None:
    assert camp("r2d2", external=True) == "hybrid" and camp("r2d2") == "meta-learning"
    assert camp("protonet", external=True, weights=0) == "transfer"
    assert camp("protonet", weights=0) == ""


def test_every_registered_method_that_is_no_control_is_in_a_camp() -> None:
    for name in METHODS.names():
        cls = METHODS.load(name)
        external = "text" in cls.kinds and len(cls.kinds) == 1
        assert bool(camp(name, external)) == (cls.family != "control"), name
        assert cls.adapts in ("backbone", "head")


def compared(methods=METHODS_OF, **changes):
    results, costs = made_up(methods, targets=("glyphs",), shots=(1,), seeds=5, **changes)
    (block,) = blocks_of(condense(results), costs).values()
    scores = {m: found["5w1s"] for m, found in validation_of(costs)["glyphs"].items()}
    camps = {m: "transfer" if f in ("feature", "parameter") else "meta-learning"
             for m, (f, _) in methods.items()}  # fmt: skip
    return compare_camps(block, scores, camps, "accuracy")


def test_a_verdict_that_every_method_of_a_camp_shares_is_said_to_be_the_same() -> None:
    tests = compared()
    names = ["champions", "without protonet", "without linear_probe", "best three"]
    assert [test["name"] for test in tests] == names
    assert tests[-1]["transfer"]["methods"] == ["linear_probe", "ridge", "fine_tune"]
    assert all(test["transfer"]["verdict"] == "behind" for test in tests)
    said = in_words(tests, "accuracy")
    assert said.startswith("meta-learning (protonet) has the best mean, transfer (linear_probe) is")
    assert said.endswith(
        "The verdict is the same without each champion, and with the mean of the best three of each"
    )


def test_a_verdict_that_rests_on_one_method_says_on_which() -> None:
    said = in_words(
        compared(METHODS_OF | {"maml": ("model", 0.6), "cnp": ("model", 0.5)}), "accuracy"
    )
    assert said.endswith("The verdict is different without protonet, with the best three")


def test_a_camp_of_one_champion_is_not_missed_in_the_test_without_it() -> None:
    tests = compared({m: METHODS_OF[m] for m in ("protonet", "maml", "cnp", "linear_probe")})
    assert "without linear_probe" not in [test["name"] for test in tests]  # no second camp is left
    three = [test | {"hybrid": tests[0]["transfer"]} for test in tests]
    three.append({k: v for k, v in three[0].items() if k != "hybrid"} | {"name": "without feat"})
    assert in_words(three, "accuracy").endswith("and with the mean of the best three of each")


def test_methods_without_val_scores_are_no_champions_and_one_camp_alone_is_no_test() -> None:
    results, costs = made_up(METHODS_OF, targets=("glyphs",), shots=(1,))
    (block,) = blocks_of(condense(results), costs).values()
    camps = dict.fromkeys(METHODS_OF, "transfer") | {"protonet": "meta-learning"}
    assert (
        compare_camps(block, dict.fromkeys(set(METHODS_OF) - {"protonet"}, 0.5), camps, "mse") == []
    )


def test_the_form_of_val_episodes_is_the_settings_or_of_the_most_ways_there_are() -> None:
    scores = {"a": {"5w1s": 0.5, "8w1s": 0.4}, "b": {"10s": -1.0}}
    assert form_for(scores, 20, 1) == "8w1s" and form_for(scores, 5, 1) == "5w1s"
    assert form_for(scores, 5, 5) is None and form_for(scores, 0, 10) == "10s"


def test_val_scores_are_means_over_seeds_of_each_source() -> None:
    costs = pd.DataFrame(
        [{"source": s, "method": "a", "val_scores": {"5w1s": v}} for s, v in
         (("one", 0.2), ("one", 0.4), ("two", 0.9))]
    )  # fmt: skip
    found = validation_of(costs)
    assert found["one"]["a"]["5w1s"] == pytest.approx(0.3) and found["two"]["a"]["5w1s"] == 0.9
    assert validation_of(costs.drop(columns="val_scores")) == {}
