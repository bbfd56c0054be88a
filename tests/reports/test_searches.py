"""Studies on a board: the page of what searches found, and columns of effort."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from metabench.pipeline import studies
from metabench.pipeline.studies import ADAPTATION, AGAIN, FIRST, Row, Study
from metabench.pipeline.tuning import Search, Terms
from metabench.reports.leaderboard import write_reports
from metabench.reports.searches import Known, known, store, with_effort
from metabench.reports.summary import summarise
from tests.reports.synthetic import META, made_up
from tests.toy import TOY_NAME, params, prepared, toy_config

SETTINGS = {"lr": 0.01, "steps": 3}


def study_of(scores, name="s", settings=SETTINGS) -> Study:
    rows = [Row(FIRST, n, 0, settings, {"5w1s": score}) for n, score in enumerate(scores)]
    again = [
        Row(AGAIN, n, seed, settings, {"5w1s": 0.5})
        for n in Study(name, rows).best
        for seed in (1000, 1001, 1002)
    ]
    return Study(name, [*rows, *again])


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A made-up board of which three methods were searched for."""
    folder, (results, costs) = tmp_path_factory.mktemp("board"), made_up()
    costs["outer_steps"] = 120
    costs["adaptation_steps"] = [{"5w1s": 7} if m == "maml" else {} for m in costs["method"]]
    draw = np.random.default_rng(0)
    found = {
        ("glyphs", method): Known(
            study_of(draw.uniform(0.3, high, 32), f"glyphs/{method}/0"), method == "maml"
        )
        for method, high in (("maml", 0.6), ("protonet", 0.8), ("fine_tune", 0.7))
    }
    costs = with_effort(costs, found)
    store(costs, found, folder)
    write_reports(results, costs, folder, META)
    return folder, found


def test_the_page_has_what_each_search_finds_and_the_order_of_the_camps(board) -> None:
    folder, found = board
    text = (folder / "search.md").read_text()
    best = 100 * max(found["glyphs", "protonet"].study.scores)
    line, chosen = [x for x in text.splitlines() if x.startswith("| protonet")]
    assert chosen == "| protonet | lr: 0.01, steps: 3 |"
    assert line.startswith("| protonet | metric | 2 | 32 |")
    assert line.endswith(f" {best:.1f} | 50.0 | glyphs/protonet/0 |")
    assert "| 4 | " in text and "| 32 | " in text and "The order is the same" in text
    assert "meta-learning (protonet" in text and "transfer (fine_tune" in text
    assert (folder / "figures/search-glyphs.svg").exists()
    assert [x for x in text.splitlines() if x.endswith("glyphs/maml/0 † |")]


def test_the_leaderboard_says_how_much_was_searched_and_adapted(board) -> None:
    text = (board[0] / "leaderboard.md").read_text()
    assert "| outer steps | adapt steps | searched |" in text and "[search.md](search.md)" in text
    rows = [row for row in text.splitlines() if "| maml | optimisation |" in row]
    assert any("| 120 | 7 | 2 × 32 |" in row for row in rows)
    assert any("| 120 | – | 2 × 32 |" in row for row in rows)  # 5 shots: not recorded
    assert "| 120 | – | – × – |" in text
    table = pd.read_csv(board[0] / "leaderboard.csv")
    assert set(table.loc[table["method"] == "maml", "trials"]) == {32.0}


def test_a_board_without_studies_has_neither_page_nor_column(tmp_path) -> None:
    results, costs = made_up()
    (tmp_path / "search.md").write_text("of an earlier board")
    store(costs, {}, tmp_path)
    write_reports(results, with_effort(costs, {}), tmp_path, META)
    assert not (tmp_path / "search.md").exists()
    assert "outer steps" not in (tmp_path / "leaderboard.md").read_text()


def adapted(number, one, five) -> Row:
    """Settings of adaptation on a learner of the winner."""
    return Row(ADAPTATION, number, 1000, {"steps": 3 + number}, {"5w1s": one, "5w5s": five})


def test_a_study_is_of_a_board_whose_cells_have_all_that_it_chose(tmp_path) -> None:
    config = toy_config()
    prepared(tmp_path, config)
    path = studies.path_of(tmp_path, "toy", TOY_NAME, "protonet")
    name = Search(config, tmp_path, TOY_NAME, "protonet", Terms()).name

    def is_known(study, now=config, **settings) -> bool:
        studies.write(study, path)
        used = SETTINGS | {"by_shots": {}, "clip": 1.0} | settings  # it did not search clip
        record = {"source": TOY_NAME, "method": "protonet", "settings": used}
        return bool(known(now, tmp_path, pd.DataFrame([record])))

    plain = study_of([0.5, 0.6, 0.7], name)
    assert is_known(plain)
    assert not is_known(study_of([0.5, 0.6, 0.7], name, {"lr": 0.02, "steps": 3}))
    assert not is_known(plain, by_shots={"1": {"steps": 99}})
    by_shots = Study(name, [*plain.rows, adapted(0, 0.5, 0.6), adapted(1, 0.4, 0.7)])
    assert is_known(by_shots, by_shots={"1": {"steps": 3}, "5": {"steps": 4}})
    assert not is_known(by_shots) and not is_known(by_shots, by_shots={"5": {"steps": 4}})
    assert not is_known(study_of([0.5, 0.6, 0.7], "another/study/0"))
    base = params()
    own = {TOY_NAME: {"protonet": base["settings"][TOY_NAME]["protonet"] | {"clip": 1.0}}}
    assert not is_known(plain, toy_config(settings=own))  # the study had another
    budget = {"examples": 800, "validations": 4, "val_episodes": 4}
    spent = toy_config(classification=base["classification"] | {"budget": budget})
    assert not is_known(plain, spent)
    path.unlink()
    none = pd.DataFrame([{"source": TOY_NAME, "method": "protonet", "settings": SETTINGS}])
    assert known(config, tmp_path, none) == {}


def test_a_board_that_knows_of_no_steps_can_be_made_again() -> None:
    from metabench.reports.scores import blocks_of, condense

    results, costs = made_up()
    scores = condense(results)
    summary = summarise(scores, costs, blocks_of(scores, costs))
    assert summary[["outer_steps", "adaptation_steps", "searched", "trials"]].isna().all(axis=None)
