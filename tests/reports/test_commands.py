"""``metabench report`` and ``metabench compare``, as typed, on results on disk."""

from __future__ import annotations

import re

import pytest
import yaml
from typer.testing import CliRunner

from metabench.cli import app, base
from metabench.config import Config, Level
from metabench.files import InputError, digest, write_json
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.results import collect
from metabench.reports.excerpt import LEGENDS, START
from tests.reports.synthetic import made_up
from tests.toy import TOY_NAME, params, prepared

METHODS = {"protonet": ("metric", 0.8), "linear_probe": ("feature", 0.8), "maml": ("model", 0.5)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    base = params(reports="reports")
    base["classification"]["methods"] = list(METHODS)
    base |= {"seeds": [0, 1, 2], "settings": {}}
    (root / "params.yaml").write_text(yaml.safe_dump(base))
    for readme in LEGENDS:
        (root / readme).write_text(f"{START}\n")
    config = Config.model_validate(base)
    layout = prepared(root, config)
    results, records = made_up(METHODS, (TOY_NAME,), (TOY_NAME,), episodes=20)
    for record in records.to_dict("records"):
        cell = record["source"], record["method"], record["seed"]
        path = layout.result(*cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = results[(results["method"] == cell[1]) & (results["seed"] == cell[2])]
        mine.to_parquet(path, index=False)
        facts = {"key": Keys(config, layout).result(*cell), "results": digest(path)}
        write_json(path.with_suffix(".json"), record | facts)
    return root


@pytest.fixture
def run(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(base.console, "width", 200)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_report_writes_everything_again_and_both_readmes_when_asked(run, project) -> None:
    found = run("report", "--readme")
    assert found.exit_code == 0, found.output
    names = ["leaderboard.md", "leaderboard.csv", "decision_guide.md", "index.html", "params.yaml"]
    for name in [*names, "reproduction.md"]:
        assert (project / "reports" / name).stat().st_size > 0
    for readme in LEGENDS:
        assert "| protonet | metric |" in (project / readme).read_text()
        (project / readme).write_text(f"{START}\n")
    assert run("report", "reports", "--readme").exit_code == 0  # from the stored scores alone
    for readme in LEGENDS:
        assert "| protonet | metric |" in (project / readme).read_text()


def test_compare_says_who_is_behind_or_what_would_decide(run) -> None:
    clear = run("compare", "protonet", "maml", "--shots", "1")
    assert clear.exit_code == 0 and "maml is behind" in clear.output
    alike = run("compare", "protonet", "linear_probe", "--shots", "1")
    assert re.search(r"undecided \(\d+ seeds would", alike.output) and "(-" in alike.output


def test_compare_names_the_nearest_method_and_the_block_that_is_missing(run) -> None:
    unknown = run("compare", "protonet", "mamll")
    assert unknown.exit_code == 1 and "no method 'mamll'. Did you mean maml?" in unknown.output
    assert run("compare", "protonet", "maml", "--target", "mars").exit_code == 1


@pytest.mark.case("36")
def test_results_of_other_params_are_refused_with_their_cells_and_the_command(run, project) -> None:
    params = project / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("validations: 4", "validations: 3"))
    try:
        for words, count in ((["report"], 9), (["compare", "protonet", "maml"], 6)):
            found = run(*words)
            assert found.exit_code == 1
            assert f"{count} of {count} cells are of other params" in found.output
            assert (
                f"{TOY_NAME}/protonet/400-examples/0" in found.output
                and "Run `dvc repro`" in found.output
            )
    finally:
        params.write_text(before)
    assert run("compare", "protonet", "maml").exit_code == 0


@pytest.mark.case("36")
@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_damaged_records_are_named(run, project, suffix) -> None:
    path = Layout(project, level=Level(400)).result(TOY_NAME, "maml", 1).with_suffix(suffix)
    whole = path.read_bytes()
    for content in (whole[:-10], b"", b"[]"):
        path.write_bytes(content)
        found = run("compare", "protonet", "maml")
        path.write_bytes(whole)
        assert found.exit_code == 1, content
        assert f"1 of 6 cells are damaged: {TOY_NAME}/maml/400-examples/1" in found.output
    assert run("compare", "protonet", "maml").exit_code == 0


def test_a_long_list_of_cells_is_cut(project) -> None:
    config = Config.model_validate(yaml.safe_load((project / "params.yaml").read_text()))
    seeds = config.model_copy(update={"seeds": tuple(range(3, 20))})
    with pytest.raises(InputError, match=r"51 of 51 cells have no result: .* and 41 more\n"):
        collect(seeds, Layout(project))
