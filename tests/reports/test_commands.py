"""``metabench report`` and ``metabench compare``, as typed, on results on disk."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from metabench import cli
from metabench.cli import app
from metabench.files import write_json
from metabench.layout import Layout
from metabench.reports.excerpt import START
from tests.reports.synthetic import made_up
from tests.toy import params

METHODS = {"protonet": ("metric", 0.8), "linear_probe": ("feature", 0.8), "maml": ("model", 0.5)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    base = params(reports="reports")
    track = base["classification"] | {"sources": ["glyphs"], "methods": list(METHODS)}
    methods = {"glyphs": {m: {} for m in METHODS}}
    base |= {"datasets": ["glyphs"], "classification": track, "methods": methods}
    (root / "params.yaml").write_text(yaml.safe_dump(base | {"seeds": [0, 1, 2]}))
    (root / "README.md").write_text(f"{START}\n")
    results, records = made_up(METHODS, targets=("glyphs",), episodes=20)
    for record in records.to_dict("records"):
        path = Layout(root).result("glyphs", record["method"], record["seed"])
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = results[
            (results["method"] == record["method"]) & (results["seed"] == record["seed"])
        ]
        mine.to_parquet(path, index=False)
        write_json(path.with_suffix(".json"), record)
    return root


@pytest.fixture
def run(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(cli.console, "width", 200)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_report_writes_everything_again_and_the_readme_when_asked(run, project) -> None:
    found = run("report", "--readme")
    assert found.exit_code == 0, found.output
    names = ["leaderboard.md", "leaderboard.csv", "decision_guide.md", "index.html", "params.yaml"]
    for name in [*names, "reproduction.md"]:
        assert (project / "reports" / name).stat().st_size > 0
    assert "| protonet | metric |" in (project / "README.md").read_text()


def test_compare_says_who_is_better_or_that_there_is_no_significant_difference(run) -> None:
    clear = run("compare", "protonet", "maml", "--shots", "1")
    assert clear.exit_code == 0 and "protonet is better" in clear.output
    alike = run("compare", "protonet", "linear_probe", "--shots", "1")
    assert "no significant difference" in alike.output


def test_compare_names_the_nearest_method_and_the_block_that_is_missing(run) -> None:
    unknown = run("compare", "protonet", "mamll")
    assert unknown.exit_code == 1 and "no method 'mamll'. Did you mean maml?" in unknown.output
    assert run("compare", "protonet", "maml", "--target", "mars").exit_code == 1
