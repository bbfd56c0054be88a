"""What params.yaml asks for is checked before any work: one message with all that is wrong."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metabench.config import Config, load, read, validated
from metabench.config.yaml_file import parse
from metabench.files import InputError
from metabench.pipeline.fingerprint import named_files
from metabench.pipeline.planning import fingerprints
from metabench.pipeline.validation import validate_names
from tests.toy import root_of_repository


@cache
def _smoke() -> dict[str, Any]:
    return yaml.safe_load((root_of_repository() / "profiles/smoke.yaml").read_text())


@pytest.fixture
def smoke() -> dict[str, Any]:
    """The smoke profile, to be spoilt."""
    return copy.deepcopy(_smoke())


@pytest.fixture
def examined(tmp_path, monkeypatch) -> Callable[[Any], Config]:
    """Reads and checks a file of the given text or values, as `plan` does."""
    monkeypatch.chdir(tmp_path)

    def check(content: Any) -> Config:
        if isinstance(content, str):
            Path("params.yaml").write_text(content, encoding="utf-8")
            config = read()
        else:  # reading takes most of the time
            config = validated(content, "params.yaml")
        validate_names(config, Path())
        return config

    return check


def spoilt(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``values`` with another value at the dotted ``key``."""
    *parents, last = key.split(".")
    for part in parents:
        values = values[int(part) if isinstance(values, list) else part]
    values[int(last) if isinstance(values, list) else last] = value
    return values


def refusal(examined: Callable[[Any], Config], content: Any) -> str:
    """The message with which ``content`` is refused."""
    with pytest.raises(InputError) as caught:
        examined(content)
    return str(caught.value)


def places(values: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is something in nested mappings and lists."""
    parts = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in parts:
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from places(value, (*before, key))


def named_seed(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"seed": outputs.mean((1, 2))}


NAMES = ["../x", "-rf", "\x1b[2J", "glyphs", "maml", "backbone", "yes", ":X", "a.b:C", "é" * 60]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(10**30)])
    | st.floats()
    | st.sampled_from(NAMES)
    | st.text(max_size=20)
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | SCALARS, inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.case("41")
@given(st.data())
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_junk_anywhere_is_refused_with_a_message_or_can_be_planned(data) -> None:
    values = copy.deepcopy(_smoke())
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from(list(places(values))))
        inner = values
        for part in parents:
            inner = inner[part]
        if isinstance(inner, dict) and data.draw(st.booleans()):
            last = data.draw(SCALARS)  # another key in place of this
        inner[last] = data.draw(JUNK)
    try:
        config = validated(values, "params.yaml")
        validate_names(config, root_of_repository())
    except InputError as error:
        lines = str(error).splitlines()
        assert all(line.startswith("params.yaml: ") and line.isprintable() for line in lines)
        assert max(map(len, lines)) < 1500
    else:
        assert json.dumps(fingerprints(config))
        assert all(path.is_file() for path in named_files(config.model_dump(mode="json")))


@given(st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_any_text_is_yaml_or_refused(content) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        text = isinstance(content, str)
        path.write_bytes(content.encode("utf-8", "replace") if text else content)
        try:
            parse(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.case("15")
def test_a_gpu_that_is_not_there_is_named_before_any_work(examined, smoke, monkeypatch) -> None:
    smoke["compute"]["device"] = "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert examined(smoke).compute.device == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = "params.yaml: compute.device: cuda, but torch sees no GPU: use auto or cpu"
    assert refusal(examined, smoke) == expected


@pytest.mark.case("16")
def test_a_typo_in_the_list_of_methods_is_answered_with_the_nearest_name(examined, smoke) -> None:
    examined(smoke)
    smoke["classification"]["methods"][1] = "protonett"
    message = refusal(examined, smoke)
    assert "params.yaml: classification.methods: unknown method 'protonett'" in message
    assert "Did you mean protonet" in message


@pytest.mark.case("16")
def test_one_seed_in_place_of_a_list_is_told_that_a_list_is_wanted(examined, smoke) -> None:
    smoke["seeds"] = 3
    expected = "params.yaml: seeds: must be a list, such as [0, 1, 2] (value 3)"
    assert refusal(examined, smoke) == expected


@pytest.mark.case("33")
@pytest.mark.parametrize(
    "name",
    ["../../../escaped", "/tmp/escaped", ".", "..", "", "backbone", "<img src=x>", ".git", "-rf",
     "a b", "a;b", "a\tb", "a\x1b[2Jb", "a:b", "x" * 200],
)  # fmt: skip
def test_the_name_of_a_variant_is_no_path(examined, smoke, name) -> None:
    def named(name: str) -> dict[str, Any]:
        values = copy.deepcopy(smoke)
        values["classification"]["methods"].append(name)
        values["classification"]["variants"] = {name: {"method": "nearest_neighbour"}}
        return values

    for honest in ("wide", "conv4-64.v2", "天気"):
        assert honest in examined(named(honest)).classification.methods
    message = refusal(examined, named(name))
    assert "classification.variants" in message and "\x1b" not in message


@pytest.mark.case("33")
@pytest.mark.parametrize("key", ["profile", "classification.sources.0", "classification.methods.0"])
def test_no_other_name_is_a_path_either(examined, smoke, key) -> None:
    examined(smoke)
    spoilt(smoke, key, "../../x")
    assert f"{key.partition('.0')[0]}" in refusal(examined, smoke)


@pytest.mark.case("35")
@pytest.mark.parametrize(
    "folder",
    [".", "", "./", "..", "../x", "reports/../..", "/tmp/x", "~", "data", "DATA", "runs",
     "results/x", "stages", "metabench/reports", "profiles", "tests", "docs", ".git", ".dvc/x",
     "params.yaml", "dvc.yaml", "params.yaml/x", "studies", "practice", "a:b", "linked",
     "linked/x"],
)  # fmt: skip
def test_reports_stay_away_from_all_that_the_pipeline_needs(examined, smoke, folder) -> None:
    for honest in ("reports", "reports/smoke", "boards/2024"):
        smoke["reports"] = honest
        assert examined(smoke).reports == honest
    Path("linked").symlink_to("..")
    smoke["reports"] = folder
    assert refusal(examined, smoke).startswith("params.yaml: reports: ")


@pytest.mark.case("39")
@pytest.mark.parametrize(
    "name",
    [":X", ".x:Y", "x y:Z", "nowhere:X",
     "os:path", "subprocess:Popen", "exits:X"],
)  # fmt: skip
def test_a_dotted_name_of_nothing_usable_is_a_message(examined, smoke, name, monkeypatch) -> None:
    Path("exits.py").write_text("import sys; sys.exit(0)")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    smoke["classification"]["backbone"] = {"name": "metabench.backbones.conv4:Conv4"}
    examined(smoke)
    smoke["classification"]["backbone"] = {"name": name}
    assert "params.yaml: classification.backbone" in refusal(examined, smoke)


@pytest.mark.case("40")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"profile: sm\xf6ke\n", "not UTF-8"),
        (bytes(range(256)), "not"),
        (b"a: " + b"[" * 2000 + b"]" * 2000, "nested too deeply"),
        (b"a: &a [*a]", "nested too deeply"),
        (b"a: " + b"9" * 5000, "4300 digits"),
        (b"a: [" + b"x, " * 200_000 + b"]", "bytes"),
        (b"seeds: [0]\nseeds: [1]", "twice"),
        (b"a: 1\n---\nb: 2", "not valid YAML"),
        (b"[1, 2]", "mapping"),
        (b"", "mapping"),
    ],
)  # fmt: skip
def test_a_params_file_that_is_none_is_a_message(tmp_path, content, message) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (root_of_repository() / "profiles/smoke.yaml").read_bytes())
    assert load(path).profile == "smoke"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 1000


@pytest.mark.case("40")
def test_a_folder_in_place_of_the_params_file_is_a_message(tmp_path) -> None:
    with pytest.raises(InputError, match="is no file"):
        load(tmp_path)


@pytest.mark.case("40")
def test_nested_aliases_are_refused_before_they_are_unfolded(examined, smoke) -> None:
    bomb = "\na: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(i + 1)}: &{chr(i + 1)} [{', '.join([f'*{chr(i)}'] * 10)}]\n" for i in range(97, 106)
    )
    examined(yaml.safe_dump(smoke) + "\n")
    assert "nested aliases" in refusal(examined, yaml.safe_dump(smoke) + bomb)


@pytest.mark.case("40")
def test_a_dataset_of_two_tracks_is_named_with_both(examined, smoke) -> None:
    examined(smoke)
    smoke["classification"]["targets"].append("sinusoid")
    assert "'sinusoid' is used by classification and regression" in refusal(examined, smoke)


@pytest.mark.case("41")
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classification.evaluation.settings", [], "classification.evaluation.settings: "),
        ("classification.evaluation.settings.0.datasets", ["digit"], "Did you mean digits"),
        ("classification.evaluation.settings.0.ways", 0, "at least 2"),
        ("classification.evaluation.settings.0.ways", 1, "at least 2"),
        ("classification.training.ways", 0, "at least 2"),
        ("regression.training.ways", 5, "0"),
        ("regression.evaluation.settings.0.ways", 5, "0"),
        ("classification.training.shots", [-1], "at least 1"),
        ("classification.training.shots", [], "empty"),
        ("regression.training.shots", [0], "at least 1"),
        ("regression.evaluation.steps", [-1], "at least 0"),
        ("regression.backbone.settings", {"widths": [40, 0]}, "at least 1"),
        ("regression.backbone.settings", {"widths": []}, "empty"),
        ("settings.glyphs.protonet", {"ways": -1}, "at least 2"),
        ("settings.glyphs.protonet", {"ways": 10**30}, "at most"),
        ("settings.glyphs.protonet", {"lr": float("inf")}, "finite"),
        ("settings.glyphs.protonet", {"lr": float("nan")}, "finite"),
        ("settings.glyphs.protonet", {"lr": True}, "number"),
        ("settings.glyphs.protonet", {"lr": "0.1"}, "number"),
        ("seeds", [10**30], "at most"),
        ("seeds", [-1], "at least 0"),
        ("seeds", [True], "whole number"),
        ("seeds", [0, 0], "0 is there twice"),
        ("classification.budget.examples", True, "whole number"),
        ("classification.budget.examples", 10**30, "at most"),
        ("compute.workers", 10**9, "at most"),
        ("classification.out_of_scope", {"nope": "digits"}, "classification.out_of_scope: 'nope'"),
        ("classification.out_of_scope", {"digits": "nope"}, "unknown dataset 'nope'"),
        ("classification.methods", ["protonet", "protonet"], "'protonet' is there twice"),
        ("classification.targets", ["digits", "digits"], "'digits' is there twice"),
        ("classification.targets", ["digts"], "Did you mean digits"),
        ("classification.evaluation.settings", [{"shots": 1}, {"shots": 1}], "5w1s is there twice"),
        ("regression.evaluation.steps", [1, 1], "1 is there twice"),
        ("classification.evaluation.metrics", ["macro_f"], "Did you mean macro_f1"),
        ("regression.evaluation.metrics", ["macro_f1"], "metric 'macro_f1': "),
        ("regression.evaluation.metrics", [f"{__name__}:named_seed"], "'seed', a column of every"),
        ("settings.glyps", {"maml": {}}, "settings.glyps: unknown dataset 'glyps'. Did you mean"),
        ("settings.glyphs.mamll", {}, "settings.glyphs.mamll: unknown method 'mamll'. Did"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_named_with_its_key(examined, smoke, key, value, message):
    examined(smoke)
    spoilt(smoke, key, value)
    found = refusal(examined, smoke)
    assert key.partition(".0")[0] in found and message in found


@pytest.mark.case("41")
def test_data_of_another_kind_than_their_track_are_named(examined, smoke) -> None:
    def refused(target: str) -> str:
        values = copy.deepcopy(smoke)
        values["classification"]["targets"].append(target)
        return refusal(examined, values)

    assert "classification: 'harmonics' is regression data" in refused("harmonics")
    assert "'banking77' is text data, but others are image data" in refused("banking77")


@pytest.mark.case("41")
def test_a_fixed_number_of_outputs_must_do_for_training_and_some_setting(examined, smoke) -> None:
    smoke["classification"]["methods"].append("mann")
    smoke["settings"]["glyphs"]["mann"] = {"ways": 5}
    examined(smoke)
    smoke["settings"]["glyphs"]["mann"] = {"ways": 6}
    smoke["classification"]["evaluation"]["settings"] = [{"ways": 3, "shots": 1}]
    message = refusal(examined, smoke)
    assert "settings.glyphs.mann.ways: must be 5" in message
    smoke["settings"]["glyphs"]["mann"] = {"ways": 3}  # two of its outputs would never be trained
    assert "settings.glyphs.mann.ways: must be 5" in refusal(examined, smoke)
    assert "'mann' answers no setting" in message and "'maml' answers" not in message


@pytest.mark.case("41")
@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({"protonet": {"method": "protonet", "sources": ["glyph"]}}, "Did you mean glyphs"),
        ({"protonet": {"method": "protonet", "skip": ["7w9s"]}}, "skip: '7w9s'"),
        ({"protonet": {"method": "protonet", "skip": ["glyps/5w1s"]}}, "Did you mean glyphs/5w1s"),
        ({"protonet": {"method": "protonet", "skip": ["5w1s"]}}, "answers no setting"),
        ({"protonet": {"method": "protonett"}}, "unknown method 'protonett'. Did you mean"),
        ({"protonet": {"method": "maml"}}, "'protonet' is a registered method"),
    ],
)
def test_what_a_variant_names_is_there(examined, smoke, variants, message) -> None:
    honest = {"method": "protonet", "sources": ["glyphs"], "skip": ["digits/5w1s"]}
    smoke["classification"]["variants"] = {"protonet": honest}
    smoke["settings"]["glyphs"]["protonet"] = {}
    examined(smoke)
    smoke["classification"]["variants"] = variants
    found = refusal(examined, smoke)
    assert "params.yaml: classification.variants.protonet" in found and message in found


@pytest.mark.case("41")
def test_the_file_is_read_as_dvc_reads_it(examined, smoke) -> None:
    text = yaml.safe_dump(smoke)
    for written in ("yes", "20:00"):
        changed = text.replace("examples: 1200", f"examples: {written}")
        assert f"must be a whole number (value '{written}')" in refusal(examined, changed)
    longest = text.replace("examples: 1200", f"examples: 0x{'f' * 5000}")
    assert "a whole number of 20000 bits" in refusal(examined, longest)
    config = examined(text.replace("examples: 1200", "examples: 01200"))
    assert config.classification.budget.examples == (1200,)


def test_all_problems_are_in_one_message(examined, smoke) -> None:
    """First those of single values, then those that take a look at all of them and at the code."""

    def named(*parts: str) -> None:
        lines = refusal(examined, smoke).splitlines()
        assert all(line.startswith("params.yaml: ") for line in lines)
        for part in parts:
            assert sum(part in line for line in lines) == 1, part

    task_type = smoke["classification"]
    task_type["methods"].append("protonett")
    task_type["backbone"]["settings"] = {"widht": 8}
    task_type["targets"] = ["digts"]
    smoke["settings"]["sinusoid"]["maml"] = {"steps": -1}
    honest = task_type["budget"] | {}
    task_type["budget"] |= {"exampels": 3, "validations": 0}
    smoke |= {"reports": "data", "seeds": 3}
    named("exampels", "validations", "reports", "seeds")
    task_type["budget"] = honest
    smoke |= {"reports": "reports", "seeds": [3]}
    named("'protonett'", "widht", "'digts'", "maml: steps")


def test_many_problems_are_cut_to_what_one_reads(examined, smoke) -> None:
    smoke |= {f"key{i}": "x" * 100_0 for i in range(60)}
    lines = refusal(examined, smoke).splitlines()
    assert len(lines) == 31 and "and more" in lines[-1]
    assert all(len(line) < 250 for line in lines)


def test_own_data_have_names_and_files_of_their_own(tmp_path, smoke) -> None:
    def config(name: str) -> Config:
        values = copy.deepcopy(smoke)
        values["datasets"] = {name: {"images": "nowhere", "partition": "all-test"}}
        values["classification"]["targets"] = [name]
        return Config.model_validate(values)

    with pytest.raises(InputError, match=r"datasets\.kmnist: is the name of a registered dataset"):
        validate_names(config("kmnist"))
    validate_names(config("birds"))
    with pytest.raises(InputError, match=r"datasets\.birds: nowhere: no such file or folder"):
        validate_names(config("birds"), tmp_path)
    (tmp_path / "nowhere/wren").mkdir(parents=True)
    validate_names(config("birds"), tmp_path)
