"""What a study has chosen, in ``params.yaml``."""

from __future__ import annotations

import yaml

from metabench.pipeline.applying import apply
from metabench.pipeline.studies import Study
from tests.pipeline.test_studies import AGAINS, FIRSTS, adapted


def test_what_was_chosen_goes_into_params_with_the_name_of_the_study(tmp_path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("# kept\nsettings:\n  glyphs:\n    maml: {steps: 3, lr: 0.5}\n")
    rows = [adapted(0, 0.5, 0.9), adapted(1, 0.6, 0.7)]
    apply(path, Study("glyphs/maml/0123", FIRSTS + AGAINS + rows), "glyphs", "maml")
    text = path.read_text()
    assert "# kept" in text and "# study glyphs/maml/0123, 6 trials" in text
    chosen = {
        "steps": 5,
        "lr": 0.004,
        "shots": None,
        "by_shots": {1: {"steps": 10}, 5: {"steps": 0}},
    }
    assert yaml.safe_load(text)["settings"]["glyphs"]["maml"] == chosen


def test_what_was_empty_or_is_chosen_twice_stays_readable(tmp_path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("settings:\n  glyphs:\n    maml: {}\n")
    rows = [adapted(0, 0.5, 0.6), adapted(1, 0.6, 0.7)]
    apply(path, Study("glyphs/maml/0123", FIRSTS + AGAINS + rows), "glyphs", "maml")
    by_shots = "by_shots: {1: {steps: 10}, 5: {steps: 10}}"
    assert f"    maml: {{lr: 0.004, shots: null, steps: 5, {by_shots}}}" in path.read_text()


def test_params_have_what_this_study_chose_and_no_settings_by_shots_of_an_earlier_one(
    tmp_path,
) -> None:
    path = tmp_path / "params.yaml"
    lines = ["settings:", "  glyphs:", "    maml:  # of maml", "      # of steps", "      steps: 3"]
    lines += ["      by_shots:  # an earlier one", "        1: {steps: 7}", "        5: {steps: 9}"]
    path.write_text("\n".join([*lines, "      # of lr", "      lr: 0.5", "    knn: {k: 3}", ""]))
    returned = apply(path, Study("glyphs/maml/0123", FIRSTS + AGAINS), "glyphs", "maml")
    text = path.read_text()
    assert "# of steps\n      steps: 5\n      # of lr\n      lr: 0.004\n" in text
    chosen = {"steps": 5, "lr": 0.004, "shots": None}
    assert yaml.safe_load(text)["settings"]["glyphs"] == {"maml": chosen, "knn": {"k": 3}}
    assert returned == chosen | {"by_shots": {}}
