"""Names to classes: whatever an import does, a user reads one message."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from metabench.backbones import BACKBONES
from metabench.backbones.conv4 import Conv4
from metabench.cli import app
from metabench.data import DATASETS
from metabench.data.own import UserData
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.metric.protonet import ProtoNet
from metabench.pipeline.validation import validate_names
from metabench.practice.running import plan
from tests.toy import TOY, TOY_NAME, params, toy_config

NO_NAMES = (":X", ".x:Y", "os:path", "subprocess:Popen", "string:digits")
MODULES = {
    "no_syntax": "def (",
    "divides": "1 / 0",
    "leaves": "raise SystemExit(0)",
    "holds_no_class": "X = 3",
}
OLD_WORDS = """
from metabench.methods.metric.protonet import ProtoNet
class Honest(ProtoNet):
    source_training = "none"
class Old(ProtoNet):
    learns_from = "nothing"
    def finish(self, source): ...
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules of a third party that cannot be imported, or hold nothing of use."""
    for name, content in MODULES.items():
        (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.case("39")
@pytest.mark.parametrize("registry", [METHODS, BACKBONES, DATASETS], ids=lambda r: r.what)
@pytest.mark.parametrize("name", [*NO_NAMES, *(f"{module}:X" for module in MODULES)])
def test_a_name_that_leads_to_nothing_of_use_is_one_message(registry, name, modules) -> None:
    with pytest.raises(InputError, match=f"^{registry.what} '{name}': "):
        registry.load(name)


@pytest.mark.case("39")
def test_names_and_dotted_paths_of_the_right_kind_are_loaded() -> None:
    assert METHODS.load("protonet") is ProtoNet
    assert METHODS.load("metabench.methods.metric.protonet:ProtoNet") is ProtoNet
    assert BACKBONES.load("metabench.backbones.conv4:Conv4") is Conv4
    assert DATASETS.load(TOY_NAME) is TOY


def test_an_attribute_under_its_old_name_is_refused_since_it_would_do_nothing(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "old_words.py").write_text(OLD_WORDS)
    monkeypatch.syspath_prepend(tmp_path)
    assert METHODS.load("old_words:Honest").source_training == "none"
    with pytest.raises(InputError, match=r"learns_from is now source_training .*, finish is now"):
        METHODS.load("old_words:Old")


@pytest.mark.case("39")
def test_check_of_a_module_that_leaves_fails_and_says_why(modules) -> None:
    answer = CliRunner().invoke(app, ["check", "leaves:X"])
    assert answer.exit_code == 1
    assert "method 'leaves:X': cannot load" in " ".join(answer.output.split())


@pytest.mark.case("39")
@pytest.mark.parametrize("source", [":x", "os:path", "own_images", "sinusoid"])
def test_a_bench_on_a_source_that_is_none_is_refused(source) -> None:
    images = [np.full((1, 16, 16), i, np.uint8) for i in range(16)]
    user_data = UserData("image", images, [f"class{i // 8}" for i in range(16)])
    assert plan(user_data, None, "glyphs", 1).mode == "all-way"
    with pytest.raises(InputError):
        plan(user_data, None, source, 1)


@pytest.mark.case("39")
def test_a_plan_with_a_backbone_that_is_none_is_refused() -> None:
    validate_names(toy_config())
    task_type = params()["classification"] | {"backbone": {"name": "string:digits"}}
    with pytest.raises(InputError, match="backbone 'string:digits': string:digits is no"):
        validate_names(toy_config(classification=task_type))
