"""`plan`, which every `dvc repro` runs: it looks at all, and writes anew what changed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from metabench.config import Config
from metabench.files import InputError, read_json
from metabench.pipeline.cells import train_cell
from metabench.pipeline.evaluating import evaluate_cell
from metabench.pipeline.finished import Finished
from metabench.pipeline.layout import Layout
from tests.data.test_own_images import fill
from tests.pipeline.test_fingerprint import forget
from tests.toy import TOY_NAME, params, prepared, root_of_repository

OWN = "own_near:Near"
METHOD = """
from own_helper import SIGN
from metabench.methods.metric.protonet import ProtoNet


class Near(ProtoNet):
    def classify(self, features):
        return SIGN * super().classify(features)
"""


def config(*methods: str, **settings: object) -> Config:
    values = params(settings={TOY_NAME: dict.fromkeys(methods, settings)})
    values["classification"]["methods"] = list(methods)
    return Config.model_validate(values)


@pytest.fixture
def plan(monkeypatch):
    """The stage, in process."""
    return importlib.import_module("stages.plan")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Layout:
    """A user's project: the documented way to add a method, with a module beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("own_near.py").write_text(METHOD)
    Path("own_helper.py").write_text("SIGN = 1\n")
    forget()
    yield Layout(tmp_path)
    forget()


def silent(share: float, text: str) -> None:
    pass


def fingerprints(layout: Layout) -> dict[str, object]:
    """What each stage depends on; the learners of ``train`` apart."""
    folder = layout.root / "data/plan"
    found = {path.stem: read_json(path) for path in folder.glob("*.json") if path.stem != "look"}
    learners = found.pop("train")[TOY_NAME]
    return found | {f"train {name}": parts for name, parts in learners.items()}


def changed(before: dict[str, object], after: dict[str, object]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


@pytest.mark.case("01")
def test_every_repro_looks_at_the_code_that_params_name() -> None:
    graph = yaml.safe_load(Path(root_of_repository() / "dvc.yaml").read_text())
    assert graph["stages"]["plan"]["always_changed"]


@pytest.mark.case("01")
@pytest.mark.parametrize("edited", ["own_near.py", "own_helper.py"])
def test_an_edited_method_of_a_third_party_is_trained_anew_and_no_other(
    plan, project, edited
) -> None:
    wanted = config("protonet", OWN)
    plan.main(wanted, project)
    before = fingerprints(project)
    assert f"train {OWN}" in before
    with Path(edited).open("a") as file:
        file.write("\nEDITED = 1\n")
    forget()
    plan.main(wanted, project)
    assert changed(before, fingerprints(project)) == {f"train {OWN}"}


def test_where_nothing_changed_nothing_is_validated_or_written(plan, project, monkeypatch) -> None:
    wanted = config("protonet", OWN)
    plan.main(wanted, project)
    written = {path: path.stat().st_mtime_ns for path in project.root.rglob("data/plan/**/*")}
    with monkeypatch.context() as patch:
        patch.setattr(
            "metabench.pipeline.validation.validate_names",
            lambda *a: pytest.fail("validated again"),
        )
        plan.main(wanted, project)
        assert {path: path.stat().st_mtime_ns for path in written} == written
        patch.setenv("METABENCH_MINILM", "elsewhere")
        with pytest.raises(pytest.fail.Exception):
            plan.main(wanted, project)


def test_fingerprints_that_were_damaged_or_are_of_no_stage_any_more_are_put_right(
    plan, project
) -> None:
    plan.main(config("protonet", "knn"), project)
    wanted = config("protonet")
    plan.main(wanted, project)
    before = fingerprints(project)
    assert "train knn" not in before
    (project.root / "data/plan/train.json").write_text("{}")
    (project.root / "data/plan/gone.json").write_text("{}")
    plan.main(wanted, project)
    assert fingerprints(project) == before


def test_a_file_that_a_setting_names_is_looked_at(plan, project) -> None:
    values = config("protonet").model_dump(mode="json")
    values["classification"]["backbone"] = {
        "name": "timm",
        "settings": {"model": "test_resnet.r160_in1k", "checkpoint": "weights.pt"},
    }
    wanted = Config.model_validate(values)
    Path("weights.pt").write_bytes(b"one")
    plan.main(wanted, project)
    before = fingerprints(project)
    Path("weights.pt").write_bytes(b"other")
    plan.main(wanted, project)
    assert "train protonet" in changed(before, fingerprints(project))


@pytest.mark.case("01")
def test_a_learner_of_code_before_an_edit_is_neither_current_nor_evaluated(project) -> None:
    wanted = config(OWN, ways=5, queries=3)
    prepared(project.root, wanted)
    arguments = (wanted, project, TOY_NAME, OWN, 0)
    train_cell(silent, *arguments)
    evaluate_cell(silent, *arguments)
    assert Finished(wanted, project).result(TOY_NAME, OWN, 0)
    Path("own_helper.py").write_text("SIGN = -1\n")
    forget()
    assert not Finished(wanted, project).result(TOY_NAME, OWN, 0)
    with pytest.raises(InputError, match="a learner of other params or of code as it was before"):
        evaluate_cell(silent, *arguments)


def test_own_data_are_looked_at_file_by_file_and_known_by_their_content(
    project, plan, monkeypatch
) -> None:
    def values(images: str) -> Config:
        own = {"images": images, "partition": "all-test", "size": 16}
        found = params(datasets={"birds": own})
        found["classification"]["targets"] = ["birds"]
        return Config.model_validate(found)

    def download() -> object:
        return read_json(project.root / "data/plan/download.json")["birds"]

    for name in ("wren", "tern"):
        fill(Path("birds") / name)
    plan.main(values("birds"), project)
    first, look = download(), plan.look_of(values("birds"))
    assert plan.look_of(values("birds")) == look
    Path("birds").rename("elsewhere")
    with pytest.raises(InputError, match=r"datasets\.birds: birds: no such file or folder"):
        plan.main(values("birds"), project)
    plan.main(values("elsewhere"), project)
    assert download() == first
    fill(Path("elsewhere/tern"), 1)  # another image in place of the first
    assert plan.look_of(values("elsewhere")) != look
    plan.main(values("elsewhere"), project)
    assert download() != first
