from __future__ import annotations

import runpy
import sys

from metabench.cells import train_cell
from tests.toy import TOY_NAME, prepared, root_of_repository, toy_config


def test_the_example_classifies_digits_above_chance(tmp_path, monkeypatch, capsys) -> None:
    config = toy_config()
    layout = prepared(tmp_path, config)
    train_cell(lambda share, text: None, config, layout, TOY_NAME, "protonet", 0)
    run = layout.run(TOY_NAME, "protonet", 0)
    monkeypatch.setattr(sys, "argv", ["example", str(run), "--shots", "5"])
    runpy.run_path(
        str(root_of_repository() / "examples/few_shot_classifier.py"), run_name="__main__"
    )
    shown = capsys.readouterr().out
    assert shown.startswith(f"protonet trained on {TOY_NAME}: accuracy ")
    assert float(shown.split("accuracy ")[1].split()[0]) > 0.2  # chance: 0.1
