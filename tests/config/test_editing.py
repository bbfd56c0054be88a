"""Changes of params.yaml by key: comments stay, and what does not belong to the key stays too."""

from __future__ import annotations

import pytest
import yaml

from metabench.config.editing import changed, drop, note, opened, put, written
from metabench.files import InputError
from tests.toy import root_of_repository

TEXT = """\
# head
profile: x  # name
seeds: [0, 1]
classification:
  budget: {examples: 10}  # few
settings:
  a: &a
    maml: {lr: 0.1}  # study 1
    knn: {k: 3}
  b: *a
  c:
    <<: *a
    knn: {k: 5}
"""


def settings_after(*changes: str) -> dict[str, dict[str, dict[str, float]]]:
    return yaml.safe_load(changed(TEXT, changes))["settings"]


def test_no_change_leaves_every_byte_of_every_profile() -> None:
    for path in sorted((root_of_repository() / "profiles").glob("*.yaml")):
        assert changed(path.read_text(), []) == path.read_text(), path.name


def test_a_value_is_replaced_and_its_comments_stay() -> None:
    text = changed(TEXT, ["seeds=[7]", "classification.budget.examples=5_000", "reports=r/x"])
    assert "# head" in text and "# name" in text and "# few" in text and "seeds: [7]\n" in text
    values = yaml.safe_load(text)
    assert values["classification"] == {"budget": {"examples": 5000}} and values["reports"] == "r/x"


def test_what_is_missing_on_the_way_is_made_on_one_line() -> None:
    text = changed(TEXT, ["settings.a.ridge.penalty=2.5"])
    assert "    ridge: {penalty: 2.5}\n" in text


def test_a_part_with_dots_is_put_in_quotes() -> None:
    assert settings_after('settings."tests.toy:TOY"."my.pkg:Mine".lr=1')["tests.toy:TOY"] == {
        "my.pkg:Mine": {"lr": 1}
    }


def test_what_is_an_alias_is_written_out_and_what_it_stands_for_stays() -> None:
    found = settings_after("settings.b.maml.lr=0.5")
    assert found["b"] == {"maml": {"lr": 0.5}, "knn": {"k": 3}}
    assert found["a"]["maml"] == found["c"]["maml"] == {"lr": 0.1}
    found = settings_after("settings.c.maml.lr=0.5")
    assert found["c"] == {"maml": {"lr": 0.5}, "knn": {"k": 5}}
    assert found["a"]["maml"] == found["b"]["maml"] == {"lr": 0.1}


def test_who_refers_to_a_mapping_follows_it() -> None:
    found = settings_after("settings.a.maml.lr=0.5")
    assert {found[name]["maml"]["lr"] for name in "abc"} == {0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seeds", "--set seeds: must be KEY=VALUE"),
        ("=3", "--set =3: must be KEY=VALUE"),
        ("seeds.0=3", r"--set seeds\.0: seeds is \[0, 1\], which has no keys of its own"),
        ("seeds=[0", "--set seeds: not valid YAML"),
        ("seeds={a: 1, a: 2}", "--set seeds: line 1: .*twice"),
    ],
)
def test_a_change_of_another_form_is_a_message(change, message) -> None:
    with pytest.raises(InputError, match=message):
        changed(TEXT, [change])


BY_SHOTS = """\
g:
  maml:  # of maml
    by_shots:  # on its line
      1: {lr: 2}
      5: {lr: 2}  # of five
    # of lr
    lr: 1
  # of knn
  knn: &k
    k: 3
    by_shots: {1: {k: 5}}  # of one
  ridge:
    <<: *k
    lr: 1
  # of c
  c:
    by_shots:
      1: {lr: 2}
  # at the end
"""


def edited(edit, *arguments) -> str:
    document = opened(BY_SHOTS)
    edit(document, *arguments, "where")
    text = written(document)
    assert written(opened(text)) == text
    return text


def test_what_is_taken_out_takes_no_comment_of_others_along() -> None:
    text = edited(drop, ["g", "maml", "by_shots"])
    assert "  maml:  # of maml\n    # of lr\n    lr: 1\n  # of knn\n" in text
    assert yaml.safe_load(text)["g"]["maml"] == {"lr": 1}
    text = edited(drop, ["g", "c", "by_shots"])
    assert text.endswith("  # of c\n  c: {}\n  # at the end\n")
    assert edited(drop, ["g", "maml", "clip"]) == BY_SHOTS


def test_what_a_merge_has_becomes_empty() -> None:
    values = yaml.safe_load(edited(drop, ["g", "knn", "by_shots"]))["g"]
    assert values["knn"] == {"k": 3, "by_shots": {}}
    assert values["ridge"] == {"lr": 1} | values["knn"]  # it follows
    values = yaml.safe_load(edited(drop, ["g", "ridge", "by_shots"]))["g"]
    assert values["ridge"] == {"lr": 1, "k": 3, "by_shots": {}}
    assert values["knn"] == {"k": 3, "by_shots": {1: {"k": 5}}}


def test_a_mapping_is_replaced_and_comments_below_it_stay() -> None:
    text = edited(put, ["g", "maml", "by_shots"], {1: {"lr": 7}})
    assert "    by_shots: {1: {lr: 7}}" in text and "    # of lr\n    lr: 1\n" in text


def test_a_note_replaces_the_comment_on_its_line_and_none_below() -> None:
    text = edited(note, ["g", "maml", "by_shots"], "new")
    assert text == BY_SHOTS.replace("on its line", "new")
    text = edited(note, ["g", "maml", "lr"], "new")
    assert "# new\n  # of knn\n" in text and yaml.safe_load(text) == yaml.safe_load(BY_SHOTS)
