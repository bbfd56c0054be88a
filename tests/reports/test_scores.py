from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from metabench.files import InputError
from metabench.reports.scores import block_of_scores, blocks_of, condense
from metabench.reports.summary import summarise
from tests.reports.synthetic import made_up


def test_a_block_has_each_methods_seeds_and_episodes_in_their_order() -> None:
    results, _ = made_up(targets=("glyphs",), shots=(1,), episodes=6)
    gone = (results["method"] == "maml") & (results["seed"] == 1)
    mixed = results[~gone].sample(frac=1, random_state=0)
    block = block_of_scores(condense(mixed), {"maml": "conv4"}, {"protonet"})
    assert list(block.methods) == sorted(set(results["method"]))
    assert block.present[block.methods.index("maml")].tolist() == [True, False, True]
    assert block.present.sum() == 3 * len(block.methods) - 1
    assert block.deterministic == {"protonet"} and block.shared == {"maml": "conv4"}
    wanted = results.query("method == 'maml' and seed == 2").sort_values("episode")["value"]
    found = block.sets[0][block.methods.index("maml"), 2]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_errors_are_negated() -> None:
    results, _ = made_up(targets=("glyphs",), shots=(10,), ways=0, episodes=4)
    assert (block_of_scores(condense(results)).sets[0] < 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_score_that_is_not_finite_names_its_cell(value: float) -> None:
    results, _ = made_up(targets=("glyphs",), shots=(10,), ways=0, episodes=4)
    odd = (results["method"] == "maml") & (results["seed"] == 1) & (results["episode"] == 2)
    results.loc[odd, "value"] = value  # one such score would leave no interval of any method
    with pytest.raises(InputError, match="glyphs/maml/1: scores on glyphs are not all finite"):
        condense(results)


def test_likelihood_is_a_mean_and_bins_are_sums() -> None:
    results, _ = made_up(targets=("glyphs",), shots=(1,), seeds=1, episodes=6)
    row = condense(results.assign(nll=results["episode"].astype(float))).iloc[0]
    assert row["nll"] == 2.5 and row["bin_count"].tolist() == [0, 6 * 75]


def test_a_cell_that_was_collected_twice_is_named() -> None:
    results, _ = made_up(targets=("glyphs",), shots=(1,), episodes=4)
    with pytest.raises(InputError, match="glyphs/maml/2: collected twice"):
        condense(pd.concat([results, results.query("method == 'maml' and seed == 2")]))


def test_a_machine_stays_with_its_record_whatever_the_index_of_the_records() -> None:
    results, costs = made_up(seeds=1)
    costs.index = range(7, 7 + len(costs))  # as a level's part of all records has it
    scores = condense(results)
    places = summarise(scores, costs, blocks_of(scores, costs))["evaluated_on"]
    assert set(places) == {"Abacus (R) 1, 1 thread"}
