from __future__ import annotations

import html
import itertools
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from metabench.files import InputError
from metabench.reports import figures
from metabench.reports.camps import validation_of
from metabench.reports.compare import comparisons
from metabench.reports.guide import guide
from metabench.reports.leaderboard import write_reports
from metabench.reports.machines import mixed
from metabench.reports.reproduction import read_board
from metabench.reports.scores import blocks_of, condense
from metabench.reports.summary import generalisation, label_need
from tests.reports.synthetic import BOARD, MACHINE, META, made_up, summary_of, undrawn


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    results, costs = made_up()
    summary = write_reports(results, costs, folder, META)
    return folder, results, costs, summary


def guide_of(results, costs):
    blocks = blocks_of(condense(results), costs)
    return guide(summary_of(results, costs), blocks, validation_of(costs))


def test_the_best_and_what_is_clearly_worse_are_told_apart(reports) -> None:
    summary = reports[3].query("target == 'glyphs' and shots == 1 and not transductive")
    rows = summary.set_index("method")
    assert sorted(rows.loc[["protonet", "linear_probe"], "verdict"]) == ["best", "undecided"]
    worst = rows.loc["nearest_neighbour"]
    assert worst["verdict"] == "behind" and worst["behind"] == pytest.approx(0.4, abs=0.02)
    assert 0.35 < worst["behind_low"] < worst["behind"] < worst["behind_high"] < 0.45
    needs = rows[rows["verdict"] == "undecided"]
    assert (needs["seeds_needed"] > 3).all() and rows["seeds_needed"].notna().sum() == len(needs)


def test_methods_alike_are_tied_where_there_are_data_to_say_so() -> None:
    found = summary_of(*made_up(targets=("glyphs",), shots=(1,), seeds=5, episodes=200))
    words = found.set_index("method")["verdict"]
    assert sorted(words[["protonet", "linear_probe"]]) == ["best", "tied"]
    assert words["maml"] == "behind" and words["tim"] == "best"  # among transductive methods


def test_a_temperature_of_fewer_ways_is_flagged_and_one_that_is_missing(
    tmp_path, monkeypatch
) -> None:
    undrawn(monkeypatch)
    results, costs = made_up(targets=("glyphs",), shots=(1,), ways=20)
    costs["val_scores"] = [{"16w1s": 0.5}] * len(costs)
    results.loc[results["method"] == "maml", "temperature"] = np.nan
    summary = write_reports(results, costs, tmp_path, META).set_index("method")
    assert summary["fitted_on"].drop("maml").eq("16w1s").all()
    assert pd.isna(summary.loc["maml", "fitted_on"])
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "temperatures are fitted, and settings by shots chosen, on 16w1s." in text
    assert "the ECE is of logits as they are: maml." in text


def test_scores_by_another_rule_stand_beside_the_board_and_change_nothing_of_it(
    tmp_path, monkeypatch
) -> None:
    undrawn(monkeypatch)
    methods = {"protonet": ("metric", 0.8), "maml": ("optimisation", 0.6)}
    results, costs = made_up(methods, targets=("glyphs",))
    other = results[results["method"] == "maml"]
    oracle = other.assign(selection="oracle", value=other["value"] / 2 + 0.5)  # ahead of protonet
    support = other[other["shots"] == 5].assign(selection="support")
    mixed = pd.concat([oracle, results, support], ignore_index=True)
    plain, both = tmp_path / "plain", tmp_path / "both"
    summary = write_reports(results, costs, plain, META)
    pd.testing.assert_frame_equal(write_reports(mixed, costs, both, META), summary)
    for name in ("decision_guide.md", "metrics.json", "shots.csv", "index.html"):
        assert (plain / name).read_bytes() == (both / name).read_bytes(), name
    whole = pd.read_csv(both / "leaderboard.csv")
    assert list(whole["selection"]) == ["val"] * 4 + ["support"] + ["oracle"] * 2
    rows = whole[whole["selection"] != "val"]
    assert rows[["rank", "verdict", "behind", "detectable"]].isna().all(axis=None)
    wanted = oracle.loc[oracle["shots"] == 1, "value"].mean()
    found = rows.query("selection == 'oracle' and shots == 1")["mean"]
    assert found.tolist() == pytest.approx([wanted], rel=1e-5)
    boards = [read_board(folder / "leaderboard.csv") for folder in (plain, both)]
    pd.testing.assert_frame_equal(*boards, check_dtype=False)
    text = (both / "leaderboard.md").read_text(encoding="utf-8")
    assert text.count("\n| method | val | oracle |\n") == 1  # with one shot
    assert text.count("\n| method | val | support | oracle |\n") == 1


def test_the_oracle_is_nobodys_best() -> None:
    with_oracle = summary_of(*made_up(BOARD | {"oracle": ("control", 1.0)}))
    without = summary_of(*made_up(BOARD))
    rows = with_oracle[with_oracle["method"] != "oracle"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, without)
    oracle = with_oracle[with_oracle["method"] == "oracle"]
    assert oracle["verdict"].isna().all() and (oracle["rank"] == 1).all()


def test_transductive_methods_are_ranked_by_themselves(reports) -> None:
    summary = reports[3]
    assert (summary.loc[summary["method"] == "tim", "rank"] == 1).all()
    inductive = summary[(summary["method"] != "tim") & (summary["rank"] == 1)]
    assert len(inductive) == 4


def test_label_need_and_drop_are_those_that_were_put_in(reports) -> None:
    _, results, _, summary = reports
    tables = blocks_of(condense(results), reports[2])
    need = label_need(summary, tables).query("target == 'glyphs'").set_index("method")
    assert need.loc["maml", "area"] == pytest.approx(0.65, abs=0.02)
    assert 1.5 < need.loc["fine_tune", "shots"] < 5  # 0.75 and 0.85; protonet has 0.8 with one
    assert pd.isna(need.loc["maml", "shots"])
    drops = generalisation(summary, tables)
    assert ((drops["drop"] - 0.2).abs() < drops["drop_half"]).mean() > 0.8


def test_the_guide_takes_the_best_and_names_what_is_tied_with_it_or_undecided(reports) -> None:
    _, results, costs, _ = reports
    found = guide_of(results, costs)
    assert {(s["domain"], s["setting"]) for s in found} == {
        (d, f"5-way {k}-shot") for d in ("in-domain", "cross-domain") for k in (1, 5)
    }
    for situation in found:
        anything, fixed, untrained = situation["choices"]
        named = anything["beside"]
        assert {"protonet", "linear_probe"} <= {anything["method"], *re.findall(r"\w+", named)}
        assert "maml" not in named and situation["detectable"].endswith(" points")
        assert anything["compared"] == 4 and situation["domains"] == 1
        assert fixed["compared"] == 2 and "fine_tune" not in fixed["beside"]  # declared, not timed
        assert untrained["method"] == "linear_probe" and untrained["tied"] == []
        assert re.match(r"(tied|undecided): (meta-learning|transfer) \(", situation["camps"])


def test_the_guide_says_so_when_one_camp_is_better() -> None:
    found = guide_of(*made_up(BOARD | {"protonet": ("metric", 0.95)}, seeds=5))
    assert re.match(
        r"meta-learning \(protonet\) has the best mean, transfer "
        r"\(linear_probe\) is behind by 13\.\d to 1[56]\.\d points\. The "
        r"verdict is different without protonet, with the best three$",
        found[0]["camps"],
    )


def test_the_cheapest_of_the_tied_is_taken_and_the_best_mean_named() -> None:
    results, costs = made_up(seeds=5, episodes=400, targets=("glyphs",), shots=(1,))
    alike = {"protonet", "linear_probe"}
    for quick in alike:
        costs["adapt_ms"] = costs["method"].map(lambda m, quick=quick: 1.0 if m == quick else 9.0)
        choice = guide_of(results, costs)[0]["choices"][0]
        beside = {*choice["tied"], *choice["best"]}
        assert choice["method"] == quick and alike - {quick} <= beside


def test_a_block_of_classes_that_a_backbone_has_seen_is_context_and_no_evidence(
    tmp_path, monkeypatch
) -> None:
    undrawn(monkeypatch)
    results, costs = made_up(targets=("glyphs", "digits", "birds"), shots=(1,))

    def blocks() -> list[str]:
        return [name for situation in guide_of(results, costs) for name in situation["blocks"]]

    whole = ["glyphs → glyphs", "glyphs → birds", "glyphs → digits"]
    assert sorted(blocks()) == sorted(whole) and "seen" not in summary_of(results, costs)
    costs["seen"] = [["birds/5w1s"] if m == "linear_probe" else [] for m in costs["method"]]
    assert sorted(blocks()) == sorted(set(whole) - {"glyphs → birds"})
    summary = write_reports(results, costs, tmp_path, META)
    seen = summary[summary["seen"]]
    assert set(zip(seen["method"], seen["target"], strict=True)) == {("linear_probe", "birds")}
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "pretrained on classes of these episodes (linear_probe)" in text
    flagged = [line for line in text.splitlines() if line.endswith("| S |")]
    assert len(flagged) == 1 and "linear" in flagged[0]
    assert "birds" not in (tmp_path / "decision_guide.md").read_text(encoding="utf-8")


def test_the_guide_warns_where_a_control_is_ahead_of_every_method() -> None:
    with_oracle = made_up(BOARD | {"oracle": ("control", 1.0)})
    for made in (made_up(), with_oracle):
        found = guide_of(*made)
        assert len(found) == 4 and all(s["control"] is None for s in found)
    for situation in guide_of(*made_up(BOARD | {"nearest_neighbour": ("control", 0.9)})):
        assert situation["control"].startswith("nearest_neighbour has ")
        assert re.search(
            r"the best method, (protonet|linear_probe), is behind by \d", situation["control"]
        )


def test_the_guide_says_where_no_method_is_above_guessing() -> None:
    assert all(s["guessing"] is None for s in guide_of(*made_up()))
    methods = {"a": ("metric", 0.2), "b": ("feature", 0.2)}
    results, costs = made_up(methods, targets=("glyphs",), shots=(1,))
    results["value"] = np.random.default_rng(0).binomial(75, 0.2, len(results)) / 75
    (situation,) = guide_of(results, costs)
    assert situation["guessing"] == "20.0 %"


def test_every_link_of_the_leaderboard_leads_somewhere(reports) -> None:
    folder = reports[0]
    text = (folder / "leaderboard.md").read_text()
    for anchor in re.findall(r"\]\(#(.+?)\)", text):
        assert f'<a id="{anchor}">' in text
    for file in re.findall(r"\]\((?!#)(.+?)\)", text):
        assert (folder / file).exists(), file
    assert (
        len(re.findall(r"A difference of \d\.\d points from the best would be detected", text)) == 4
    )
    assert "≈" not in text and "difference between in-domain and cross-domain accuracy" in text
    assert "### glyphs: accuracy as a function of shots" in text
    lines = text.splitlines()
    for head, rule in itertools.pairwise(lines):
        if rule.startswith("| --"):
            assert head.count("|") == rule.count("|")


@pytest.mark.case("46")
def test_names_are_text_and_nothing_else_in_every_report(tmp_path) -> None:
    odd = "<img src=x onerror=alert(1)> `a` | **b**"
    board = {odd: ("metric", 0.8), "b_c": ("model", 0.5), "\u202eknn": ("control", 0.9)}
    meta = META | {"profile": "<script>`x`"}
    write_reports(*made_up(board, sources=("g [x](y)",), targets=("g [x](y)",)), tmp_path, meta)
    for name in ("leaderboard.md", "decision_guide.md"):
        text = (tmp_path / name).read_text()
        page = MarkdownIt().enable("table").render(text)
        tags = set(re.findall(r"<(\w+)", page))
        assert tags <= {"h1", "h2", "h3", "p", "a", "ul", "li", "img", "code", "strong", "em",
                        "table", "thead", "tbody", "tr", "th", "td"}  # fmt: skip
        assert html.escape(odd) in page and "\u202e" not in text
        assert len(re.findall("<img", page)) == text.count("![")
        assert 'href="y"' not in page
    for anchor in re.findall(r"\]\(#(.+?)\)", (tmp_path / "leaderboard.md").read_text()):
        assert f'<a id="{anchor}">' in (tmp_path / "leaderboard.md").read_text()
    assert "<script>`" not in (tmp_path / "index.html").read_text()


def test_the_same_results_give_the_same_files(reports, tmp_path) -> None:
    folder, results, costs, _ = reports
    write_reports(results, costs, tmp_path, META)
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path


def test_results_on_different_episodes_are_not_compared(reports) -> None:
    _, results, costs, _ = reports
    odd = results["episode_hash"].mask(results["method"] == "maml", "other")
    with pytest.raises(InputError, match="glyphs/maml differ from the rest"):
        summary_of(results.assign(episode_hash=odd), costs)


def test_a_metric_has_a_column_of_its_own(reports) -> None:
    results, costs = made_up()
    summary = summary_of(results.assign(halved=results["value"] / 2), costs)
    assert summary["halved"].tolist() == pytest.approx((summary["mean"] / 2).tolist())
    with pytest.raises(InputError, match="'rank', which is a column of leaderboard"):
        summary_of(results.assign(rank=1.0), costs)


def test_a_large_board_is_split_by_family(tmp_path) -> None:
    families = [f for f in figures.COLOURS for _ in range(2)]
    board = {f"method{i}": (family, 0.3 + 0.02 * i) for i, family in enumerate(families)}
    results, costs = made_up(board, seeds=2, episodes=8, shots=(1,), targets=("glyphs",))
    summary = write_reports(results, costs, tmp_path, META)
    assert [title for title, _ in figures.panels(summary)] == list(figures.COLOURS)
    assert {p.name for p in (tmp_path / "figures").glob("*.svg")} == {
        "cost-adapt_ms-glyphs-5w.svg", "cost-seconds-glyphs-5w.svg",
        "reliability-glyphs-glyphs-5w1s.svg", "ranks-classification.svg",
    }  # fmt: skip


def test_nothing_on_the_front_is_beaten_by_something_cheaper() -> None:
    rows = pd.DataFrame({"mean": [0.5, 0.4, 0.7, 0.7], "cost": [1, 2, 3, 4]})
    assert figures.pareto(rows, "cost")["mean"].tolist() == [0.5, 0.7]


def test_regression_is_reported_and_lower_is_better(tmp_path) -> None:
    results, costs = made_up(targets=("glyphs",), ways=0)
    summary = write_reports(results, costs, tmp_path, META)
    best = summary[~summary["transductive"]].query("verdict == 'best'")["method"]
    assert set(best) == {"nearest_neighbour"}
    assert "mean squared error" in (tmp_path / "leaderboard.md").read_text()


def test_steps_after_which_a_seed_diverged_are_said_to_diverge(tmp_path) -> None:
    results, costs = made_up(targets=("glyphs",), shots=(1,), ways=0)
    maml = results[results["method"] == "maml"]
    early, late = maml.assign(steps=1), maml[maml["seed"] != 2].assign(steps=5)
    write_reports(pd.concat([results, early, late]), costs, tmp_path, META)
    text = (tmp_path / "leaderboard.md").read_text()
    (row,) = re.findall(r"^\| --- .*\n\| maml \|(.*)\| diverges \|\n\n3 seeds", text, re.MULTILINE)
    assert "±" in row and "diverges" not in row


def test_two_methods_are_compared_block_by_block(reports) -> None:
    _, results, costs, _ = reports
    rows = comparisons(results, costs, "protonet", "maml", {"shots": 1})
    assert [row[0] for row in rows] == ["glyphs → glyphs", "glyphs → digits"]
    assert all(row[-1] == "maml is behind" for row in rows)
    assert re.fullmatch(r"20\.\d \(19\.\d to 20\.\d\)", rows[0][-2])
    turned = comparisons(results, costs, "maml", "protonet", {"shots": 1})[0]
    assert turned[-1] == "maml is behind" and re.match(r"-20\.\d \(-20\.\d to -19", turned[-2])
    with pytest.raises(InputError, match="no two results to compare in shots 7"):
        comparisons(results, costs, "protonet", "maml", {"shots": 7})


def test_methods_alike_are_undecided_until_there_are_data_to_call_them_tied() -> None:
    for seeds, episodes, words in (
        (1, 20, "three seeds"),
        (3, 20, "seeds would decide"),
        (5, 200, "tied"),
    ):
        made = made_up(shots=[1], targets=["glyphs"], seeds=seeds, episodes=episodes)
        (row,) = comparisons(*made, "protonet", "linear_probe", {})
        assert words in row[-1] and ("to" in row[-2]) == (seeds > 1)


def test_of_two_errors_the_smaller_one_is_ahead() -> None:
    results, costs = made_up(ways=0, shots=[10], targets=["glyphs"])
    (row,) = comparisons(results, costs, "protonet", "maml", {})
    assert row[-1] == "protonet is behind" and row[-2] == "0.203 (0.191 to 0.215)"


def test_reports_and_statistics_do_without_torch() -> None:
    modules = "metabench.reports.leaderboard, metabench.reports.compare"
    modules += ", metabench.reports.statistics.board, metabench.reports.statistics.champions"
    code = f"import sys, metabench.reports.reproduction, metabench.reports.excerpt, {modules}\n"
    code += "assert 'torch' not in sys.modules and 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


OTHER = MACHINE | {"gpu": "Analytical Engine", "threads": 4}
BOTH = "Abacus (R) 1, 1 thread; Analytical Engine (Abacus (R) 1, 4 threads)"


@pytest.mark.parametrize(
    ("measured", "columns"),
    [("machine", "adapt ms, MB"), ("trained_on", "train s, MB"), ("pretrained_on", "train s, MB")],
)
def test_costs_of_several_machines_are_marked(measured, columns) -> None:
    results, costs = made_up(shots=(1,), episodes=8)
    assert mixed(summary_of(results, costs)).note == ""
    costs[measured] = [OTHER if m == "tim" else MACHINE for m in costs["method"]]
    found = mixed(summary_of(results, costs))
    assert ", ".join(found.columns) == columns and BOTH in found.note


def test_another_version_or_number_of_cores_is_no_other_machine() -> None:
    results, costs = made_up(shots=(1,), episodes=8)
    newer = MACHINE | {"cores": 64, "versions": {"torch": "9.9"}}
    costs["machine"] = [newer if m == "tim" else MACHINE for m in costs["method"]]
    assert not mixed(summary_of(results, costs)).columns


def test_boards_mark_costs_of_several_machines_and_no_others(reports, tmp_path) -> None:
    results, costs = made_up({"a": ("metric", 0.6), "b": ("feature", 0.5)}, episodes=8)
    costs["machine"] = [OTHER if m == "a" else MACHINE for m in costs["method"]]
    write_reports(results, costs, tmp_path, META)
    tables = (tmp_path / "leaderboard.md").read_text(), (reports[0] / "leaderboard.md").read_text()
    assert [("| adapt ms † |" in t, BOTH in t, "| train s † |" in t) for t in tables] == [
        (True, True, False),
        (False, False, False),
    ]
    pages = (tmp_path / "index.html").read_text(), (reports[0] / "index.html").read_text()
    said = [
        f"adapt ms, MB: † Measured on several machines, so not comparable: {BOTH}" in p
        for p in pages
    ]
    assert said == [True, False]
