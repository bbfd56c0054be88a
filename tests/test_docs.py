"""The documents: each method is described with its family, each relative link leads somewhere."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from metabench import __version__
from metabench.config import Config
from metabench.conformance import check
from metabench.data import DATASETS, Dataset
from metabench.methods import METHODS
from metabench.methods.base import FAMILIES
from metabench.pipeline.cells import pretrain_cell, train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.keys import Keys
from metabench.pipeline.part import part_of
from metabench.pipeline.pretrainings import Pretraining
from metabench.pipeline.results import collect
from metabench.pipeline.validation import validate_names
from tests.pipeline.test_fingerprint import forget
from tests.reports.synthetic import summary_of
from tests.toy import TOY_NAME, params, prepared, root_of_repository

ROOT = root_of_repository()
GLOBS = ("README*.md", "CONTRIBUTING.md", "docs/**/*.md", "benchmarks/*.md")
PAGES = sorted(page for glob in GLOBS for page in ROOT.glob(glob))
FAMILY_PAGES = ROOT / "docs/families"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_page_names_each_method_with_its_paper_file_and_equation(family) -> None:
    text = (FAMILY_PAGES / f"{family}.md").read_text()
    for name in METHODS.names():
        method = METHODS.load(name)
        if method.family != family or not method.__module__.startswith("metabench."):
            continue
        _, found, rest = text.partition(f"\n**`{name}`** · ")
        assert found, f"{name} has no paragraph in {family}.md"
        paragraph, equation, _ = rest.partition("\n\n$$")
        assert equation and "\n\n" not in paragraph, f"{name} has no equation"
        assert f"{method.__module__.replace('.', '/')}.py)" in paragraph
        if method.paper != "–":
            assert set(re.findall(r"\d{4}", method.paper)) <= set(re.findall(r"\d{4}", paragraph))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page) -> None:
    prose = re.sub(r"```.*?```|\$\$.*?\$\$", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", prose)
    here = [(link, anchor) for link, anchor in links if "://" not in link]
    broken = [
        link for link, _ in here if not (page.parent / link).exists() and not generated(page, link)
    ]
    assert not broken
    astray = [
        f"{link}#{anchor}"
        for link, anchor in here
        if anchor and anchor not in anchors(page.parent / link if link else page)
    ]
    assert not astray


def anchors(page) -> set[str]:
    """Addresses of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def generated(page, link: str) -> bool:
    """Whether the pipeline writes it: reports of the profile in use."""
    return (page.parent / link).resolve().parent == ROOT / "reports"


def test_the_table_of_datasets_has_a_row_for_each() -> None:
    text = (ROOT / "docs/datasets.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(name for name in DATASETS.names() if not name.startswith("own_"))


NUMBERS = {"three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "七": 7}
BOARD = r"\]\((reports/\w+)/leaderboard\.md\)\s*[(（]([^)）]*)"


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_readme_counts_methods_and_seeds_as_the_boards_have_them(page) -> None:
    text = (ROOT / page).read_text()
    counted = 0
    for folder, said in re.findall(BOARD, text):
        values = yaml.safe_load((ROOT / folder / "params.yaml").read_text())
        found = {
            "method": str(len(methods_of(values))),
            "seed": str(len(values["seeds"])),
        }
        for number, what in re.findall(r"(\w+) (methods|learners|seeds)", said):
            what = "seed" if what == "seeds" else "method"
            assert str(NUMBERS.get(number, number)) == found[what], (folder, number, what)
            counted += 1
        for number, what in re.findall(r"(\d+) (种方法|个种子)", said):
            assert number == found["seed" if what == "个种子" else "method"], (folder, number, what)
            counted += 1
    (figure,) = re.findall(r"(\w+) methods\]\(reports/figures|(七)种方法，", text)[0:1]
    values = yaml.safe_load((ROOT / "reports/params.yaml").read_text())
    assert NUMBERS["".join(figure)] == len(values["classification"]["methods"])
    assert counted >= 2


def test_both_readmes_have_the_same_sections_commands_tables_and_links() -> None:
    english, chinese = (
        outline((ROOT / page).read_text()) for page in ("README.md", "README.zh.md")
    )
    assert len(english) > 6 and english == chinese


def outline(text: str) -> list[tuple[str, list[str], int, set[str]]]:
    """Of each section: the level of its heading, its code, its rows of tables, its links."""
    text = re.sub(r"\]\(README\S*\)", "", text)
    sections = re.split(r"^(?=#+ [^\n]*\n\n)", text, flags=re.MULTILINE)[1:]
    return [
        (
            section.split(" ", 1)[0],
            [without_words(code) for code in re.findall(r"```(.*?)```", section, re.DOTALL)],
            len(re.findall(r"^\|", section, re.MULTILINE)),
            set(re.findall(r"\]\((.*?)\)", section)),
        )
        for section in sections
    ]


def without_words(code: str) -> str:
    """Code without comments and docstrings."""
    return re.sub(r" +#.*|\"{3}.*?\"{3}", "", code)


def methods_of(values: dict[str, Any]) -> set[str]:
    """The methods of all task types of a params.yaml."""
    parts = [part for part in values.values() if isinstance(part, dict) and "sources" in part]
    return {method for part in parts for method in part["methods"]}


def test_the_full_profile_has_every_method_of_images_as_the_readme_says() -> None:
    values = yaml.safe_load((ROOT / "profiles/full.yaml").read_text())
    wanted = {name for name in METHODS.names() if "image" in METHODS.load(name).kinds}
    assert set(values["classification"]["methods"]) == wanted


def test_the_protocol_names_who_divides_its_budget_has_none_and_decays_weights() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    methods = {name: METHODS.load(name) for name in METHODS.names()}
    (hybrids,) = re.findall(r"\| `pretrained`, and trained .*\| (.*) \|\n", text)
    started = {name: m for name, m in methods.items() if m.start == "pretrained"}
    assert named(hybrids) == {n for n, m in started.items() if m.source_training != "none"}
    (controls,) = re.findall(r"Controls that learn nothing from the source \(([^)]*)\)", text)
    free = {n for n, m in methods.items() if m.family == "control" and m.source_training == "none"}
    assert named(controls) == free
    (decayed,) = re.findall(r"plain batches: (pretraining, [^.]*) have\s+5e-4", text)
    fields = {name: m.Settings.model_fields["weight_decay"] for name, m in methods.items()}
    assert named(decayed) == {name for name, field in fields.items() if field.default}


def named(text: str) -> set[str]:
    """The words in code style."""
    return set(re.findall(r"`(\w+)`", text))


def test_the_index_of_documents_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_make_help_has_a_line_for_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    assert [t for t in targets if not re.search(rf"^{t}:.* ## \w", text, re.MULTILINE)] == []
    assert re.findall(r"^([a-z]\S*):", text, re.MULTILINE)[0] == "bench"  # what plain `make` does


def code_of(page: str, module: str) -> str:
    """The program of a page that is to be saved as ``module``."""
    text = (ROOT / "docs" / page).read_text()
    (code,) = re.findall(rf"```python\n(# {module}\n.*?)```", text, re.DOTALL)
    return str(code)


def program(page: str, module: str) -> dict[str, Any]:
    """What it defines."""
    names: dict[str, Any] = {}
    exec(code_of(page, module), names)
    return names


def test_the_dataset_of_the_page_can_be_source_and_target(tmp_path) -> None:
    builder = program("add-a-dataset.md", "my_data.py")["STRIPES"]
    builder.build(tmp_path).save(tmp_path)
    dataset = Dataset.load(tmp_path)
    sizes = [len(dataset.class_ids(partition)) for partition in ("train", "val", "test")]
    assert sizes == [6, 5, 5] and dataset.x.shape == (320, 1, 28, 28)


def test_the_wrapped_datasets_of_the_page_are_built(tmp_path, monkeypatch) -> None:
    noise = program("add-a-dataset.md", "my_torch_data.py")["NOISE"].build(tmp_path)
    assert noise.x.shape == (60, 1, 28, 28) and len(noise.class_ids("test")) == 6
    columns = type(
        "Split", (list,), {"features": {"label": SimpleNamespace(names=list("ABCDEFGHIJKLMN"))}}
    )
    rows = columns({"title": "", "content": f"text {i}", "label": i % 14} for i in range(28))
    asked = []
    hub = SimpleNamespace(load_dataset=lambda *a, **options: asked.append((a, options)) or rows)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    dbpedia = program("add-a-dataset.md", "my_hub_data.py")["DBPEDIA"].build(tmp_path)
    assert asked == [(("fancyzhx/dbpedia_14",), {"split": "test", "cache_dir": tmp_path})]
    assert [len(dbpedia.class_ids(part)) for part in ("train", "val", "test")] == [6, 4, 4]


@pytest.mark.parametrize(("module", "name"), [("my_net.py", "Small"), ("my_module.py", "Plain")])
def test_the_backbones_of_the_page_take_weights_that_differ_from_task_to_task(module, name) -> None:
    torch.manual_seed(0)
    net = program("add-a-backbone.md", module)[name]((1, 28, 28)).eval()
    x = torch.randn(2, 5, 1, 28, 28)
    weights = {name: torch.stack([w, 2 * w]) for name, w in net.named_parameters()}
    together = net(x, weights, support=3)
    for t in range(2):
        own = {name: w[t] for name, w in weights.items()}
        torch.testing.assert_close(together[t : t + 1], net(x[t : t + 1], own, support=3))
    assert together.shape == (2, 5, net.feature_dim)
    assert not torch.allclose(together[1:], net(x[1:], support=3))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project's folder, whose modules can be imported by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield tmp_path
    forget()


def silent(share: float, text: str) -> None:
    pass


def test_the_method_of_the_page_needs_its_file_and_its_name_in_a_list(folder) -> None:
    """The steps of the page, to the letter; and an edit of the file runs that method again."""
    page = (ROOT / "docs/add-a-method.md").read_text()
    (module,) = re.findall(r"```python\n# my_pkg.py\n(.*?)```", page, re.DOTALL)
    assert module in (ROOT / "README.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (folder / "my_pkg.py").write_text(module)
    values, added = params(settings={}), yaml.safe_load(text)
    values["classification"] |= added.pop("classification")
    assert added == {}
    config = Config.model_validate(values)
    validate_names(config, folder)
    name = config.classification.methods[-1]
    layout, cell = prepared(folder, config), (TOY_NAME, name, 0)
    pretrain_cell(silent, config, layout, TOY_NAME, Pretraining(), 0)
    for work in (train_cell, evaluate_cell):
        work(silent, config, layout, *cell)
    results, _ = collect(config, layout, part_of(config, [name]))
    assert set(results["method"]) == {name} and results["value"].mean() > 0.2
    protonet = (TOY_NAME, "protonet", 0)
    before = [Keys(config, layout).learner(*learner) for learner in (cell, protonet)]
    (folder / "my_pkg.py").write_text(module.replace("far.amin", "2 * far.amin"))
    forget()
    after = [Keys(config, layout).learner(*learner) for learner in (cell, protonet)]
    assert after[0] != before[0] and after[1] == before[1]


def test_the_method_of_the_page_that_adapts_weights_conforms(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_steps.py").write_text(code_of("add-a-method.md", "my_steps.py"))
    monkeypatch.syspath_prepend(tmp_path)
    assert METHODS.load("my_steps:ClippedSteps").Settings(largest=0.5).tasks == 4
    assert [v for v in check("my_steps:ClippedSteps", ["vector"]) if v.passed is False] == []


def test_the_metric_of_the_page_is_in_results_and_board_and_an_edit_evaluates_again(folder) -> None:
    page = (ROOT / "docs/add-a-metric.md").read_text()
    module = code_of("add-a-metric.md", "my_metrics.py")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (folder / "my_metrics.py").write_text(module)
    values = params(settings={})
    task_type, added = values["classification"], yaml.safe_load(text)["classification"]
    evaluation = task_type["evaluation"] | added["evaluation"]
    task_type |= {"methods": ["nearest_neighbour"], "evaluation": evaluation}
    config = Config.model_validate(values)
    validate_names(config)
    layout, cell = prepared(folder, config).at(None), (TOY_NAME, "nearest_neighbour", 0)
    for work in (train_cell, evaluate_cell):
        work(silent, config, layout, *cell)
    results, costs = collect(config, layout)
    assert (results["worst_class"] <= results["value"] + 1e-6).all()
    assert set(results["worst_class"].mul(3).round(6)) <= {0, 1, 2, 3}  # of three queries a class
    summary_of(results, costs).to_csv("leaderboard.csv")
    (row,) = pd.read_csv("leaderboard.csv").to_dict("records")
    assert row["worst_class"] == pytest.approx(results["worst_class"].mean())
    keys = Keys(config, layout)
    before = keys.learner(*cell), keys.result(*cell)
    (folder / "my_metrics.py").write_text(module.replace("amin", "amax"))
    forget()
    edited = Keys(config, layout)
    assert edited.learner(*cell) == before[0]
    assert edited.result(*cell) != before[1]


def test_the_changelog_and_the_citation_name_the_version() -> None:
    newest = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert newest == cited == __version__
