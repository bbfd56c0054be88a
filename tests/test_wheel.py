"""metabench outside of a checkout: the wheel alone, in an environment and a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

from tests.toy import root_of_repository

ROOT = root_of_repository()


class Elsewhere:
    """An environment with the built wheel in it, and a folder to work in.

    The packages that metabench needs are those of the environment that runs the tests, by a path
    file; metabench itself is the wheel's.
    """

    def __init__(self, root: Path):
        wheels, place, self.folder = root / "wheels", root / "environment", root / "work"
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(wheels)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        venv.create(place)
        self.site = next(place.glob("lib/python*/site-packages"))
        shared = [path for path in sys.path if path.endswith("-packages")]
        (self.site / "shared.pth").write_text("\n".join(shared))
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "true",
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

    def stages(self) -> list[str]:
        """The stages that the next ``dvc repro`` runs."""
        return re.findall(r"Running stage '(\w+)", self.run("python -m dvc repro"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Elsewhere:
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"))


def test_the_wheel_brings_its_own_code(elsewhere) -> None:
    where = "import metabench, stages; print(metabench.__file__, stages.__file__)"
    (elsewhere.site.parent / "where.py").write_text(where)
    found = elsewhere.run(f"python {elsewhere.site.parent}/where.py", elsewhere.site)
    assert [Path(path).parents[1] for path in found.split()] == [elsewhere.site] * 2


def test_a_folder_made_by_init_runs_the_smoke_profile(elsewhere) -> None:
    elsewhere.run(f"metabench init {elsewhere.folder} --profile smoke", elsewhere.site.parent)
    assert set(elsewhere.stages()) >= {"plan", "train", "evaluate", "aggregate"}
    assert "reports/smoke/leaderboard.md" in elsewhere.run("metabench where")
    assert "protonet" in (elsewhere.folder / "reports/smoke/leaderboard.md").read_text()
    assert elsewhere.stages() == ["plan"]


def test_export_and_profile_work_there(elsewhere) -> None:
    elsewhere.run("metabench export runs/glyphs/protonet/0 served")
    assert (elsewhere.folder / "served/MLmodel").exists()
    elsewhere.run("metabench profile regression")
    params = elsewhere.folder / "params.yaml"
    assert yaml.safe_load(params.read_text())["profile"] == "regression"
