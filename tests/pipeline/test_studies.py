"""Studies: what was tried decides what is used, and stands in a table that can be read again."""

from __future__ import annotations

import pytest

from metabench.files import InputError
from metabench.methods.parameter.fine_tune import FineTune
from metabench.pipeline.studies import ADAPTATION, AGAIN, FIRST, Row, Study, read, write


def row(part, number, score=None, seed=0, **settings) -> Row:
    """A trial whose two settings of the evaluation have ``score`` and a little more."""
    scores = {} if score is None else {"5w1s": score, "5w5s": round(score + 0.1, 5)}
    diverged = "loss is nan" if score is None else None
    values = {"lr": 0.001 * (number + 1), "shots": None, "steps": 5} | settings
    return Row(part, number, seed, values, scores, 0.004, 10, 1.5, diverged)


FIRSTS = [row(FIRST, n, score) for n, score in enumerate((0.5, 0.7, None, 0.6, 0.7, 0.2))]
AGAINS = [
    *(row(AGAIN, 1, score, seed) for seed, score in enumerate((0.9, 0.9, None))),
    *(row(AGAIN, 4, score, seed) for seed, score in enumerate((0.5, 0.6, 0.7))),
    *(row(AGAIN, 3, score, seed) for seed, score in enumerate((0.8, 0.6, 0.6))),
]


def test_the_best_three_are_tried_again_of_equal_ones_the_earlier() -> None:
    study = Study("s", FIRSTS)
    assert study.best == [1, 4, 3]
    assert study.scores == pytest.approx([0.55, 0.75, 0, 0.65, 0.75, 0.25])


def test_a_seed_that_diverges_counts_as_the_worst_score() -> None:
    study = Study("s", FIRSTS + AGAINS)
    assert study.winner.number == 3  # 2/3 of 0.95 is less than what two others have
    without = [r for r in AGAINS if not r.diverged]
    assert Study("s", FIRSTS + without).winner.number == 1


def test_where_errors_are_scored_the_worst_is_the_largest_of_the_study() -> None:
    rows = [row(FIRST, n, score) for n, score in enumerate((-3.0, None, -9.0))]
    assert Study("s", rows).scores == pytest.approx([-2.95, -8.95, -8.95])


def test_the_worst_error_is_that_of_the_first_trials_whatever_follows() -> None:
    firsts = [row(FIRST, n, score) for n, score in enumerate((-3.0, -1.0, None, -9.0))]
    again = [row(AGAIN, 1, score, seed) for seed, score in enumerate((-50.0, -1.0, -1.0))]
    assert Study("s", firsts).best == Study("s", firsts + again).best == [1, 0, 2]


def test_the_best_are_numbers_also_where_trials_are_missing() -> None:
    rows = [row(FIRST, n, score) for n, score in ((1, 0.5), (4, 0.9), (7, 0.7))]
    again = [row(AGAIN, n, 0.5 + n / 100, seed) for n in (4, 7) for seed in range(3)]
    assert Study("s", rows).best == [4, 7, 1]
    assert Study("s", rows + again).winner.number == 7


def test_a_table_chooses_as_the_search_did_to_the_last_bit(tmp_path) -> None:
    rows = [row(FIRST, n, 0.5 + n / 3e7) for n in range(4)]
    write(Study("s", rows), tmp_path / "s.csv")
    assert read(tmp_path / "s.csv").best == Study("s", rows).best == [3, 2, 1]


def test_settings_that_all_diverge_are_never_used() -> None:
    rows = [row(FIRST, n) for n in range(3)] + [
        row(AGAIN, n, None, s) for n in range(3) for s in (1, 2)
    ]
    with pytest.raises(InputError, match=r"s: training diverges with all settings .*loss is nan"):
        _ = Study("s", rows).winner


def adapted(number, one, five, seed=0) -> Row:
    scores = {} if one is None else {"5w1s": one, "20w1s": one, "5w5s": five}
    return Row(ADAPTATION, number, seed, {"steps": 10 * number}, scores)


def test_adaptation_is_chosen_for_each_number_of_shots_the_winner_s_own_too() -> None:
    rows = [adapted(0, 0.5, 0.9), adapted(1, 0.6, 0.7), adapted(2, 0.55, 0.9)]
    study = Study("s", FIRSTS + AGAINS + rows)
    assert study.by_shots == {1: {"steps": 10}, 5: {"steps": 0}}
    settings = FineTune.Settings(steps=30, by_shots=study.by_shots)
    assert [settings.at(shots).steps for shots in (1, 5)] == [10, 0]


def test_nothing_is_by_shots_where_the_winner_s_own_is_best_for_all() -> None:
    rows = [adapted(0, 0.6, 0.9), adapted(1, 0.6, 0.7), adapted(2, 0.55, 0.9)]
    assert Study("s", FIRSTS + AGAINS + rows).by_shots == {}
    assert Study("s", FIRSTS + AGAINS).by_shots == {}


def test_adaptation_that_diverges_with_a_seed_is_not_chosen() -> None:
    rows = [
        *(adapted(0, 0.5, 0.9), adapted(1, 0.99, 0.99), adapted(2, 0.55, 0.8)),
        *(adapted(0, 0.5, 0.9, 1), adapted(1, None, None, 1), adapted(2, 0.55, 0.8, 1)),
    ]
    by_shots = {1: {"steps": 20}, 5: {"steps": 0}}
    assert Study("s", FIRSTS + AGAINS + rows).by_shots == by_shots
    every = [Row(ADAPTATION, n, 0, {"steps": n}, diverged="nan") for n in range(3)]
    assert Study("s", FIRSTS + AGAINS + every).by_shots == {}


def test_where_errors_are_scored_what_diverges_is_no_better_than_the_largest() -> None:
    own = {"5s": -3.0, "10s": -0.5}  # the mean, -1.75, is better than that of 5 shots
    rows = [
        *(Row(FIRST, n, 0, {"steps": 1}, own) for n in range(3)),
        Row(AGAIN, 0, 1000, {"steps": 1}, own),
        Row(ADAPTATION, 0, 1000, {"steps": 1}, own),
        Row(ADAPTATION, 1, 1000, {"steps": 50}, diverged="nan"),
        Row(ADAPTATION, 2, 1000, {"steps": 70}, {"5s": -4.0, "10s": -0.2}),
    ]
    assert Study("s", rows).by_shots == {5: {"steps": 1}, 10: {"steps": 70}}


def test_a_table_says_all_that_the_choice_needs(tmp_path) -> None:
    study = Study(
        "glyphs/maml/0123", [*FIRSTS, *AGAINS, adapted(0, 0.5, 0.9), adapted(1, 0.6, 0.7)], "abc"
    )
    path = tmp_path / "maml.csv"
    write(study, path)
    again = read(path)
    assert again.winner == study.winner and again.by_shots == study.by_shots
    assert list(again.rows) == list(study.rows) and (again.name, again.code) == (
        study.name,
        study.code,
    )
    header, first, *_ = path.read_text().splitlines()
    assert header.startswith(
        "study,code,part,number,seed,settings.lr,settings.shots,settings.steps,score"
    )
    assert first.startswith("glyphs/maml/0123,abc,tuning,0,0,0.001,null,5,0.55000,0.5,0.6,")


@pytest.mark.parametrize(
    "text", ["", "study,part\nx,tuning\n", "a,b\n1,2\n", "study,part\nx,why\n"]
)
def test_what_is_no_such_table_is_named(tmp_path, text) -> None:
    path = tmp_path / "maml.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"maml\.csv: is no table of a study"):
        read(path)
