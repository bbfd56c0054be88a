from __future__ import annotations

import json
import runpy
import sys
from types import SimpleNamespace

from metabench.pipeline.cells import train_cell
from metabench.practice.service import FewShotModel, FewShotTask
from tests.toy import TOY_NAME, prepared, root_of_repository, toy_config

EXAMPLES = root_of_repository() / "examples"


def trained(folder, method):
    config = toy_config()
    layout = prepared(folder, config)
    train_cell(lambda share, text: None, config, layout, TOY_NAME, method, 0)
    return str(layout.learner(TOY_NAME, method, 0))


def test_the_example_classifies_digits_above_chance(tmp_path, monkeypatch, capsys) -> None:
    run = trained(tmp_path, "protonet")
    monkeypatch.setattr(sys, "argv", ["example", run, "--shots", "5"])
    runpy.run_path(str(EXAMPLES / "few_shot_classifier.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert shown.startswith(f"protonet trained on {TOY_NAME}: accuracy ")
    assert float(shown.split("accuracy ")[1].split()[0]) > 0.2  # chance: 0.1


def test_the_example_s_request_is_answered_as_its_text_says(tmp_path, capsys) -> None:
    runpy.run_path(str(EXAMPLES / "request.py"), run_name="__main__")
    request = json.loads(capsys.readouterr().out)
    tasks = [FewShotTask(**task) for task in request["inputs"]]
    model = FewShotModel()
    model.load_context(
        SimpleNamespace(artifacts={"learner": trained(tmp_path, "nearest_neighbour")})
    )
    (answer,) = model.predict(None, tasks)
    assert answer["labels"] == ["three"] * 3 + ["seven"] * 3
