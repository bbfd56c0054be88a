"""`metabench list` and `metabench show`: whole names in pipes, what a class says of itself."""

from __future__ import annotations

import re

import pytest
import yaml
from typer.testing import CliRunner

from metabench.backbones import BACKBONES
from metabench.cli import app, base
from metabench.data import DATASETS
from metabench.learning.metrics import METRICS
from metabench.methods import METHODS
from tests.toy import params


@pytest.fixture(autouse=True)
def pipe(monkeypatch) -> None:
    """As wide as in a pipe; pytest-xdist sets COLUMNS."""
    monkeypatch.setattr(base.console, "width", 10_000)


def printed(*words: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == code, found.output
    return found.output


@pytest.mark.parametrize(
    ("words", "registry"),
    [
        ([], METHODS),
        (["methods"], METHODS),
        (["backbones"], BACKBONES),
        (["datasets"], DATASETS),
        (["metrics"], METRICS),
    ],
)
def test_a_list_has_a_row_for_each_with_its_whole_name(words, registry) -> None:
    rows = [re.split(r" *│ *", line)[1:-1] for line in printed("list", *words).splitlines()[3:-1]]
    own = {"own_images", "own_texts"}
    assert [row[0] for row in rows] == [name for name in registry.names() if name not in own]
    assert all(cell for row in rows for cell in row[1:3])


def test_a_list_of_nothing_known_names_what_there_is() -> None:
    assert "'backbones'" in printed("list", "backbone", code=2)


def test_a_method_is_shown_with_its_equation_and_its_settings() -> None:
    output = printed("show", "frn")
    assert "Wertheimer et al. 2021" in output and "│ family          │ metric" in output
    assert "logit_k = −γ ‖X − X̄_k‖² / P" in output
    assert re.search(r"│ lr +│ 0.003 +│ adamw: 0.0003 … 0.02 \(log\); sgd", output)
    assert re.search(r"│ ways +│ 20 +│ null, 10, 20 +│", output)
    assert "metabench.methods.metric.frn:FRN" in output


def test_what_trains_nothing_has_no_settings_of_training() -> None:
    assert "It has no settings." in printed("show", "nearest_neighbour")
    output = printed("show", "linear_probe")
    assert re.search(r"│ c +│ [\d.]+ +│ 0.1 … 100 \(log\) +│", output) and "│ lr" not in output
    assert re.search(r"│ pretraining +│ 0 +│ 0 … 31 +│", output)
    assert "pretraining: for methods" in output and "by_shots: other values" in output
    assert "pretraining_share:" not in output and "peak learning rate" not in output


def test_backbones_datasets_and_the_pretraining_are_shown_too() -> None:
    assert re.search(r"│ width +│ 64 +│", printed("show", "conv4"))
    assert re.search(r"│ external pretraining +│ yes", printed("show", "efficientnet_lite0"))
    assert "Finn et al. 2017, Model-Agnostic" in printed("show", "sinusoid")
    assert re.search(r"│ augmentation +│ none +│", printed("show", "sinusoid"))
    assert re.search(r"│ augmentation +│ shift, rotation, scale +│", printed("show", "glyphs"))
    assert "settings.<source>.backbone:" in printed("show", "backbone")


def test_a_method_of_one_s_own_is_shown_by_its_dotted_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown_own.py").write_text(
        '"""Mine: y = x."""\nfrom metabench.methods.metric.protonet import ProtoNet\n\n\n'
        "class Mine(ProtoNet):\n    paper = 'mine, 2026'\n"
    )
    output = printed("show", "shown_own:Mine")
    assert "Mine: y = x." in output and "mine, 2026" in output


def test_a_backbone_and_a_dataset_of_one_s_own_are_shown_by_their_dotted_paths(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown_things.py").write_text(
        '"""Mine: deeper."""\nfrom metabench.backbones.conv4 import Conv4\n'
        "from metabench.data.base import Builder\n\n\n"
        "class Deeper(Conv4):\n    pass\n\n\n"
        'STARS = Builder("stars", "image", "mine, 2026", lambda raw: None)\n'
    )
    assert re.search(r"│ width +│ 64 +│", printed("show", "shown_things:Deeper"))
    assert re.search(r"│ paper or source +│ mine, 2026 +│", printed("show", "shown_things:STARS"))
    assert "no module named" in printed("show", "shown_nowhere:Deeper", code=1).lower()


def test_common_settings_are_explained_once_where_a_method_s_own_say_nothing(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown_silent.py").write_text(
        "from metabench.methods.base import Settings\n"
        "from metabench.methods.metric.protonet import ProtoNet\n\n\n"
        "class Mine(ProtoNet):\n    class Settings(Settings):\n        sharp: float = 1.0\n"
    )
    output = printed("show", "shown_silent:Mine")
    assert output.count("that methods have in common") == 1


def test_a_name_of_nothing_gets_a_suggestion() -> None:
    assert "called 'protonett'. Did you mean protonet" in printed("show", "protonett", code=1)


def test_own_data_of_params_are_listed_and_shown(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = {"images": "photos/birds.zip", "partition": {"test": 0.5}, "imagenet": "none"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params(datasets={"my_birds": own})))
    (row,) = [line for line in printed("list", "datasets").splitlines() if "my_birds" in line]
    assert "image" in row and "your own: photos/birds.zip" in row
    shown = printed("show", "my_birds")
    assert re.search(r"classes of ImageNet-1k +│ none", shown) and "'test': 0.5" in shown
    assert "Did you mean my_birds" in printed("show", "my_bird", code=1)
