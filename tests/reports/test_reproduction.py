from __future__ import annotations

import pandas as pd
import pytest

from metabench.files import InputError
from metabench.reports.excerpt import END, LEGENDS, START, excerpt, update_readme
from metabench.reports.reproduction import TITLES, leaderboards, published, write_reproduction
from tests.reports.synthetic import save_board
from tests.toy import root_of_repository


def lines_of(path, topic: str) -> list[str]:
    section = path.read_text().split(f'<a id="{topic}"></a>')[1].split("<a id=")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def test_without_results_every_row_says_not_run_and_holds_no_number_of_ours(tmp_path) -> None:
    path = write_reproduction(tmp_path)
    for topic in TITLES:
        for line in lines_of(path, topic):
            assert line.split(" | ")[4] == "not run"


def test_a_measured_error_stands_beside_the_published_one_with_its_origin(tmp_path) -> None:
    summary = save_board(
        tmp_path / "omniglot", "omniglot", {"protonet": ("metric", 0.95), "knn": ("feature", 0.9)},
        ("omniglot_small1",), ("omniglot_challenge",), (1,), ways=20,
    )  # fmt: skip
    found = lines_of(write_reproduction(tmp_path), "omniglot-challenge")
    error = 100 * (1 - summary.set_index("method").loc["protonet", "mean"])
    assert f"**{error:.1f} ± " in found[0] and "| 30.1 |" in found[0]
    assert "profile omniglot, commit 0123456789" in found[0] and "unconfirmed" in found[0]
    assert "not run" in found[1]


def test_the_best_of_ours_stands_beside_a_published_figure_for_any_method(tmp_path) -> None:
    board = {"ridge": ("feature", 0.8), "knn": ("feature", 0.7)}
    save_board(tmp_path / "text", "text", board, ("clinc150",), ("banking77",), (10,), ways=77)
    found = lines_of(write_reproduction(tmp_path), "banking77")
    assert "not run" in found[0]  # five shots
    assert "clinc150 → banking77" in found[1] and "| ridge |" in found[1]


def test_the_smoke_profile_is_no_evidence_and_a_damaged_leaderboard_is_named(tmp_path) -> None:
    save_board(tmp_path / "smoke", "smoke")
    assert leaderboards(tmp_path).empty
    (tmp_path / "smoke" / "leaderboard.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"smoke/leaderboard\.csv: lacks backbone"):
        write_reproduction(tmp_path)


def test_published_facts_are_complete_and_name_their_origin() -> None:
    facts = published()
    assert set(facts["topic"]) == set(TITLES)
    assert facts["confirmed"].isin(["yes", "no"]).all()
    assert (facts["origin"].str.len() > 5).all() and (facts["differences"].str.len() > 5).all()


def test_the_excerpt_is_put_between_its_marks_and_renewed(tmp_path) -> None:
    save_board(tmp_path, "default")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{START}\n\nafter\n")
    for _ in range(2):
        update_readme(readme, tmp_path / "leaderboard.csv")
        text = readme.read_text()
        assert text.startswith("before\n\n") and text.endswith(f"{END}\n\nafter\n")
        assert text.count("| protonet | metric |") == 1
    readme.write_text("nothing")
    with pytest.raises(InputError, match="lacks the line"):
        update_readme(readme, tmp_path / "leaderboard.csv")


@pytest.mark.parametrize("readme", LEGENDS)
def test_both_readmes_say_what_the_committed_leaderboard_says(readme) -> None:
    board = root_of_repository() / "reports/leaderboard.csv"
    if not board.exists():
        pytest.skip("no committed leaderboard: the README has no excerpt to compare")
    columns = pd.read_csv(board, nrows=1).columns
    assert "profile" in columns, "made by older code: run `dvc repro`"
    if "verdict" not in columns:
        pytest.skip("the committed leaderboard is from before verdicts")
    assert excerpt(board, readme) in (root_of_repository() / readme).read_text(), (
        f"{readme} is stale: run `metabench report --readme`"
    )
