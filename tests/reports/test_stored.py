"""A board from a clone: only what is committed, no results, no training."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from metabench.cli import app
from metabench.files import InputError
from metabench.reports.leaderboard import write_reports, write_stored
from metabench.reports.scores import UNCALIBRATED, condense
from metabench.reports.stored import CELLS, NAMES, PARAMS, SCORES, store, stored
from tests.reports.synthetic import META, made_up, undrawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    methods = {"protonet": ("metric", 0.8), "maml": ("model", 0.6), "ridge": ("feature", 0.7)}
    of_images = made_up(methods, shots=(1,))
    of_points = made_up(methods, ("sinusoid",), ("sinusoid",), (10,), ways=0)
    both = [pd.concat(parts, ignore_index=True) for parts in zip(of_images, of_points, strict=True)]
    both[1]["open_set_auroc"] = [{"digits/5w1s": 0.7}] * len(both[1])
    write_reports(*both, folder, META)
    return folder


def test_the_reports_of_a_board_are_made_again_byte_by_byte(folder, tmp_path) -> None:
    for name in NAMES:
        shutil.copy(folder / name, tmp_path)
    found = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert found.exit_code == 0, found.output
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(files) > 10
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_every_score_is_kept_and_takes_about_a_byte(tmp_path) -> None:
    results, costs = made_up(episodes=300)
    results["value"] = (75 * results["value"]).round() / 75
    store(condense(results), costs, tmp_path, META)
    scores, records, meta = stored(tmp_path)
    pd.testing.assert_frame_equal(scores, condense(results))
    kept = scores.query("method == 'maml' and seed == 2 and target == 'digits' and shots == 1")
    wanted = results.query("method == 'maml' and seed == 2 and target == 'digits' and shots == 1")
    assert (75 * kept["values"].iloc[0]).round().tolist() == (75 * wanted["value"]).round().tolist()
    assert records.to_dict("records") == costs.to_dict("records") and meta == META
    assert (tmp_path / SCORES).stat().st_size < 1.5 * len(results)


def test_a_board_from_before_temperatures_is_read_and_says_so(
    folder, tmp_path, monkeypatch
) -> None:
    for file in NAMES:
        shutil.copy(folder / file, tmp_path)
    scores, costs, meta = stored(tmp_path)
    store(scores[UNCALIBRATED], costs, tmp_path, meta)
    found, _, _ = stored(tmp_path)
    assert found["temperature"].isna().all() and found["raw_nll"].equals(found["nll"])
    undrawn(monkeypatch)
    summary = write_stored(tmp_path)
    assert summary["raw_ece"].equals(summary["ece"]) and summary["fitted_on"].isna().all()
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "temperature" not in text
    assert "a temperature" in (folder / "leaderboard.md").read_text(encoding="utf-8")


def test_a_board_without_scores_and_a_damaged_one_are_named(folder, tmp_path) -> None:
    with pytest.raises(InputError, match=r"no scores\.parquet and no cells\.json and no params"):
        stored(tmp_path)
    for name in (SCORES, CELLS):
        for file in NAMES:
            shutil.copy(folder / file, tmp_path)
        for content in (b"", b"[]", (folder / name).read_bytes()[:-20]):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=name):
                stored(tmp_path)
    shutil.copy(folder / CELLS, tmp_path)
    shutil.copy(folder / PARAMS, tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / SCORES)
    with pytest.raises(InputError, match="other columns"):
        stored(tmp_path)


def test_a_table_that_was_edited_and_files_of_two_boards_are_refused(folder, tmp_path) -> None:
    for file in NAMES:
        shutil.copy(folder / file, tmp_path)
    laid_out = (folder / PARAMS).read_text(encoding="utf-8").replace("\n", "\r\n") + "# as made"
    (tmp_path / PARAMS).write_text(laid_out, encoding="utf-8", newline="")
    stored(tmp_path)  # line ends and comments change nothing
    (tmp_path / PARAMS).write_text("profile: made-up\nseeds: [7]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"params\.yaml: not what cells\.json was written with"):
        stored(tmp_path)
    shutil.copy(folder / PARAMS, tmp_path)
    scores = pd.read_parquet(folder / SCORES)
    scores[scores["method"] != "maml"].to_parquet(tmp_path / SCORES)
    with pytest.raises(InputError, match=r"scores\.parquet: not what cells\.json was written with"):
        stored(tmp_path)


def test_records_of_another_version_are_named(folder, tmp_path) -> None:
    for file in NAMES:
        shutil.copy(folder / file, tmp_path)
    older = (folder / CELLS).read_text(encoding="utf-8").replace('"adapts"', '"fits"')
    (tmp_path / CELLS).write_text(older, encoding="utf-8")
    with pytest.raises(InputError, match="of another version: records have no 'adapts'"):
        stored(tmp_path)
