from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from metabench.backbones import build_backbone
from metabench.backbones.base import Backbone
from metabench.config import BackboneChoice, Config, load, validated
from metabench.files import InputError
from metabench.pipeline.validation import method_settings, validate_backbone, validate_names
from tests.toy import TOY_NAME, params, root_of_repository

SHORT = {"profile": "x", "reports": "x"}


def loaded(tmp_path: Path, values: object) -> Config:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return load(path)


def test_every_shipped_profile_is_valid_in_structure_and_names() -> None:
    profiles = sorted((root_of_repository() / "profiles").glob("*.yaml"))
    assert len(profiles) >= 2
    for path in [*profiles, root_of_repository() / "params.yaml"]:
        validate_names(load(path))


def test_params_in_use_is_one_of_the_profiles() -> None:
    root = root_of_repository()
    assert (root / "params.yaml").read_text() == (root / "profiles/default.yaml").read_text()


def test_an_unknown_key_is_named_with_its_value_and_the_nearest_valid_one(tmp_path) -> None:
    values = params()
    values["classification"]["budget"]["exampels"] = 7
    with pytest.raises(InputError, match=r"budget\.exampels: unknown key \(value 7\).*examples"):
        loaded(tmp_path, values)


def test_a_wrong_type_is_named_with_its_value(tmp_path) -> None:
    with pytest.raises(InputError, match=r"seeds\.1: must be a whole number \(value 'two'\)"):
        loaded(tmp_path, params(seeds=[0, "two"]))


def test_five_lines_are_enough(tmp_path) -> None:
    """Nothing is there twice, and a method without settings has no entry."""
    text = """
        profile: mine
        reports: reports/mine
        classification:
          sources: [glyphs]
          methods: [protonet, maml]
        """
    (tmp_path / "params.yaml").write_text(text)
    config = load(tmp_path / "params.yaml")
    validate_names(config)
    assert config.used == ("glyphs",) and list(config.task_types) == ["classification"]
    assert config.settings_of("glyphs", "maml") == {}
    settings = config.classification.evaluation.settings
    assert [setting.label for setting in settings] == ["5w1s", "5w5s"]


@pytest.mark.parametrize(
    ("label", "source", "method", "labels"),
    [
        ("regression", "sinusoid", "ridge", ["5s", "10s"]),
        ("text", "banking77", "protonet", ["5w1s", "5w5s"]),
        ("relations", "fewrel_dev", "protonet", ["5w1s", "5w5s"]),
    ],
)
def test_each_task_type_has_defaults_that_go_together(label, source, method, labels) -> None:
    """The shortest form of each is valid against the code, alone, as to data and backbone too."""
    config = validated(SHORT | {label: {"sources": [source], "methods": [method]}}, "")
    validate_names(config)
    task_type = config.task_types[label]
    assert [setting.label for setting in task_type.evaluation.settings] == labels


def test_the_datasets_follow_from_what_uses_them() -> None:
    values = params()
    values["classification"] |= {"targets": ["digits"], "out_of_scope": {"digits": "kmnist"}}
    values["regression"] = {"sources": ["sinusoid"], "methods": ["ridge"]}
    config = Config.model_validate(values)
    assert config.used == (TOY_NAME, "digits", "kmnist", "sinusoid")


def test_what_is_written_of_a_config_says_the_same_again(tmp_path) -> None:
    values = params(settings={TOY_NAME: {"protonet": {"ways": None}}})
    config = Config.model_validate(values)
    assert loaded(tmp_path, config.values()) == config
    assert "text" not in config.values() and "seeds" in config.values()


def test_parameters_of_the_first_version_are_told_what_to_rename_in_one_message(tmp_path) -> None:
    values = params(datasets=[TOY_NAME], text={"sources": [], "methods": []})
    values["methods"] = values.pop("settings")
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, values)
    (line,) = str(caught.value).splitlines()
    assert "Rename the section `methods` to `settings`" in line
    assert "Delete the list `datasets`" in line and "Delete `text`" in line


@pytest.mark.parametrize("field", ["sources", "methods"])
def test_a_task_type_needs_sources_and_methods(tmp_path, field) -> None:
    values = params()
    del values["classification"][field]
    with pytest.raises(InputError, match=rf"classification\.{field}: required, but missing"):
        loaded(tmp_path, values)
    with pytest.raises(InputError, match="no task type is there: add one of classification,"):
        loaded(tmp_path, SHORT)


def test_no_yaml_and_no_file_are_named(tmp_path) -> None:
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not valid YAML"):
        load(tmp_path / "params.yaml")
    with pytest.raises(InputError, match=r"absent\.yaml: missing"):
        load(tmp_path / "absent.yaml")


def test_unknown_method_dataset_and_backbone_names_get_suggestions() -> None:
    root = root_of_repository()
    base = yaml.safe_load((root / "profiles/smoke.yaml").read_text())

    def broken(change: str) -> Config:
        values = copy.deepcopy(base)
        task_type = values["classification"]
        if change == "method":
            task_type["methods"] = ["protonett"]
        elif change == "dataset":
            task_type["targets"].append("glyhps")
        else:
            task_type["backbone"]["name"] = "conv5"
        return Config.model_validate(values)

    for change, near in [("method", "protonet"), ("dataset", "glyphs"), ("backbone", "conv4")]:
        with pytest.raises(InputError, match=rf"unknown {change} '.*Did you mean.*{near}"):
            validate_names(broken(change))


def test_an_unknown_hyper_parameter_gets_suggestions() -> None:
    with pytest.raises(InputError, match=r"here: inner_rl: unknown key .*inner_lr"):
        method_settings("maml", {"inner_rl": 0.1}, "here")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("conv4", {"widht": 64}, r"widht: unknown key \(value 64\). Did you mean width"),
        ("conv4", {"width": "64"}, r"width: must be a whole number \(value '64'\)"),
        ("mlp", {"widths": [40, 2.5]}, r"widths\.1: must be a whole number \(value 2\.5\)"),
        ("resnet12", {"block_sise": 3}, r"block_sise: unknown key .*block_size"),
    ],
)
def test_settings_of_a_backbone_are_checked_against_its_signature(name, settings, message) -> None:
    values = yaml.safe_load((root_of_repository() / "profiles/smoke.yaml").read_text())
    values["classification"]["backbone"] = {"name": name, "settings": settings}
    where = r"params\.yaml: classification\.backbone\.settings: "
    with pytest.raises(InputError, match=where + message):
        validate_names(Config.model_validate(values))


def test_a_backbone_of_a_third_party_needs_no_annotations() -> None:
    def check(settings: dict) -> None:
        validate_backbone(
            BackboneChoice(name="tests.config.test_schema:Plain", settings=settings), "here"
        )

    check({"depth": 3})
    with pytest.raises(InputError, match=r"here: depth: .*required"):
        check({})
    with pytest.raises(InputError, match="here: dept: unknown key"):
        check({"depth": 3, "dept": 4})


class Plain(Backbone):
    def __init__(self, input_shape, depth, rate=0.1): ...

    def forward(self, x, weights=None, support=None): ...


def test_images_too_small_for_a_backbone_are_named() -> None:
    with pytest.raises(InputError, match=r"'conv4'.*of shape 1×8×8.*below 16×16"):
        build_backbone("conv4", (1, 8, 8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"partition": "all-test"}, r"datasets\.birds: give one of `images` .* and `texts`"),
        ({"images": "a", "texts": "b", "partition": "all-test"}, r"datasets\.birds: give one of"),
        ({"images": "a"}, r"datasets\.birds\.partition: required, but missing"),
        (
            {"images": "a", "partition": {"test": 2}},
            r"datasets\.birds\.partition\.test: must be at most 1\.0 \(value 2\)",
        ),
        (
            {"images": "a", "partition": {"test": 0.5, "vall": 0.1}},
            r"datasets\.birds\.partition\.vall: unknown key .* Did you mean val\?",
        ),
        (
            {"images": "a", "partition": "all-test", "encoding": "latin-1"},
            r"datasets\.birds: encoding: not for images\. Leave it out",
        ),
        (
            {"texts": "a", "partition": "all-test", "size": 32},
            r"datasets\.birds: size: not for texts\. Leave it out",
        ),
    ],
)
def test_an_entry_of_own_data_that_says_too_little_or_too_much_is_refused(
    tmp_path, given, message
) -> None:
    with pytest.raises(InputError, match=message):
        loaded(tmp_path, params(datasets={"birds": given}))


def test_own_data_in_a_config_is_written_so_that_it_reads_the_same(tmp_path) -> None:
    shares = {"images": "a", "partition": {"test": 0.5}}
    config = Config.model_validate(
        params(datasets={"a": shares, "b": {"texts": "b.csv", "partition": "p.csv"}})
    )
    assert loaded(tmp_path, config.values()) == config
