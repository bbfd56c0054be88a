"""metabench outside of a checkout: the wheel alone, in an environment and a folder of their own.

Slow, a minute of work; CI runs it nevertheless.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.toy import root_of_repository

ROOT = root_of_repository()
NOTEBOOK = json.loads((ROOT / "docs/tutorial.ipynb").read_text())


def program(notebook: dict[str, Any]) -> str:
    """The code of a notebook as a Python program: ``!command`` must succeed, files are written."""
    parts = ["import subprocess", "from pathlib import Path"]
    for cell in notebook["cells"]:
        code = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        if code.startswith("%%writefile "):
            name, _, text = code.removeprefix("%%writefile ").partition("\n")
            code = f"Path({name!r}).write_text({text!r})"
        call = r"subprocess.run('\1', shell=True, check=True)"
        parts.append(re.sub("^!(.*)$", call, code, flags=re.MULTILINE))
    return "\n".join(parts)


class Elsewhere:
    """An environment with the built wheel in it, and a folder to work in.

    The packages that metabench needs are those of the environment that runs the tests, by a path
    file; metabench itself is the wheel's.
    """

    def __init__(self, root: Path):
        wheels, place, self.folder = root / "wheels", root / "environment", root / "tutorial"
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(wheels)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        venv.create(place)
        self.site = next(place.glob("lib/python*/site-packages"))
        shared = [path for path in sys.path if path.endswith("-packages")]
        (self.site / "shared.pth").write_text("\n".join(shared))
        paths = (
            place / "bin",
            Path(sys.executable).parent,
            os.environ["PATH"],
        )  # dvc is the second's
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "PATH": os.pathsep.join(map(str, paths)),
            "DVC_NO_ANALYTICS": "true",
            "MPLBACKEND": "agg",
        }
        self.environment.pop("MLFLOW_TRACKING_URI", None)
        install = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install"]
        flags = ["--quiet", "--no-deps", "--no-index"]
        subprocess.run([*install, *flags, *map(str, wheels.glob("*.whl"))], check=True, cwd=root)

    def run(self, command: str, where: Path | None = None) -> str:
        """What ``command`` prints; it must succeed."""
        ended = subprocess.run(
            command.split(),
            cwd=where or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def script(self, program: str, where: Path) -> str:
        """What a Python program prints that is started in the folder ``where``."""
        (where / "program.py").write_text(program)
        return self.run("python program.py", where)

    def stages(self) -> list[str]:
        """The stages that the next ``dvc repro`` runs."""
        return re.findall(r"Running stage '(\w+)", self.run("dvc repro"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Elsewhere:
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.slow
def test_the_wheel_brings_its_own_code(elsewhere) -> None:
    where = "import metabench, stages; print(metabench.__file__, stages.__file__)"
    found = elsewhere.script(where, elsewhere.site.parent)
    assert [Path(path).parents[1] for path in found.split()] == [elsewhere.site] * 2


@pytest.mark.slow
def test_the_tutorial_runs_from_init_to_a_leaderboard_with_ones_own_method(elsewhere) -> None:
    elsewhere.script(program(NOTEBOOK), elsewhere.folder.parent)
    board = (elsewhere.folder / "reports/smoke/leaderboard.md").read_text()
    assert "protonet" in board and "my_pkg:NearestShot" in board
    assert "reports/smoke/leaderboard.md" in elsewhere.run("metabench where")
    assert elsewhere.stages() == ["plan"]


@pytest.mark.slow
def test_export_and_profile_work_there(elsewhere) -> None:
    elsewhere.run("metabench export runs/glyphs/protonet/1200-examples/0 served")
    assert (elsewhere.folder / "served/MLmodel").exists()
    elsewhere.run("metabench profile regression --force")  # the tutorial has edited params.yaml
    params = elsewhere.folder / "params.yaml"
    assert yaml.safe_load(params.read_text())["profile"] == "regression"


def test_the_tutorial_is_committed_without_outputs_and_shows_the_method_of_the_readme() -> None:
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    shown = next(cell["source"] for cell in code if "%%writefile my_pkg.py\n" in cell["source"])
    readme = (ROOT / "README.md").read_text()
    assert "".join(shown[1:]).partition("class ")[2] in readme
