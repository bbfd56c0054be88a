"""The DVC graph on the smoke profile: what runs, what is reused, what bad luck leaves behind.

The tests share one project and run in order; each is a sentence about the next ``dvc repro``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from benchmarks.kills import small_project
from metabench.repair import repair


class Project:
    """A copy of the repository's tracked files in a folder of its own, on the smoke profile."""

    def __init__(self, root: Path):
        self.root, self.environment = root, small_project(root)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["dvc", "repro"],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def repro(self) -> tuple[int, str]:
        process = self.start()
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def stages(self) -> set[str]:
        """The stages that the next ``dvc repro`` runs; it must succeed."""
        code, output = self.repro()
        assert code == 0, output
        return set(re.findall(r"Running stage '(.+)':", output))

    def params(self, change) -> None:
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text())
        change(values)
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def weights(self) -> dict[Path, int]:
        """When each trained learner was written."""
        return self._written("runs/**/model.safetensors")

    def results(self) -> dict[Path, int]:
        """When each result was written."""
        return self._written("results/**/*.parquet")

    def _written(self, pattern: str) -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in self.root.glob(pattern)}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def wait_for_stage(process: subprocess.Popen[str]) -> None:
    """Until a stage's own Python has been running below ``dvc`` for a second."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                is_stage = "python" in child.name() and "stages.train" in child.cmdline()
                if is_stage and time.time() - child.create_time() > 1:
                    return
        time.sleep(0.05)
    raise AssertionError("dvc started no stage")


MAML = {
    "train@glyphs-maml",
    "evaluate@glyphs",
    "train_regression@sinusoid-maml",
    "evaluate_regression@sinusoid",
}


def test_an_unknown_method_ends_in_a_message_that_names_it_and_the_nearest(project) -> None:
    def misspell(values) -> None:
        values["classification"]["methods"][0] = "mmal"
        values["methods"]["glyphs"]["mmal"] = {}

    whole = (project.root / "params.yaml").read_text()
    project.params(misspell)
    code, output = project.repro()
    assert code != 0
    assert "unknown method 'mmal'. Did you mean" in output and "maml" in output
    assert "Traceback" not in output
    (project.root / "params.yaml").write_text(whole)


def test_interrupting_training_ends_in_a_message_and_a_failing_exit(project) -> None:
    process = project.start()
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "Running stage 'train@" in line:
            wait_for_stage(process)
            os.killpg(process.pid, signal.SIGINT)
            break
    output += process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "interrupted. Nothing is lost" in output and "Traceback" not in output
    assert not list(project.root.glob("**/.tmp-*"))


def test_interrupting_the_imports_of_a_stage_ends_in_the_same_message(project, tmp_path) -> None:
    (tmp_path / "torch.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "except BaseException as error:\n"
        "    raise ImportError('as C extensions say whatever happened') from error\n"
    )
    path = f"{tmp_path}{os.pathsep}{project.root}"
    ended = subprocess.run(
        [sys.executable, "-m", "stages.plan"],
        cwd=project.root,
        env=project.environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 130
    assert (
        ended.stderr
        == "interrupted. Nothing is lost: finished cells are kept, `dvc repro` goes on from here.\n"
    )


def test_the_next_repro_finishes_and_writes_a_leaderboard(project) -> None:
    stages = project.stages()
    assert "aggregate" in stages and stages >= MAML
    board = (project.root / "reports/smoke/leaderboard.md").read_text()
    for method in ("maml", "protonet", "nearest_neighbour"):
        assert method in board
    rows = pd.read_parquet(project.root / "results/glyphs/maml/0.parquet")
    assert set(rows["target"]) == {"glyphs", "digits"}
    assert (project.root / "mlflow.db").exists()


def test_a_second_repro_does_nothing(project) -> None:
    code, output = project.repro()
    assert code == 0 and "Running stage" not in output
    assert "Data and pipelines are up to date" in output


def test_an_edited_and_an_added_method_run_their_cells_and_the_report_alone(project) -> None:
    def add(values) -> None:
        values["classification"]["methods"].append("linear_probe")
        values["methods"]["glyphs"]["linear_probe"] = {}

    with (project.root / "metabench/methods/maml.py").open("a") as file:
        file.write("\nEDITED = True\n")
    project.params(add)
    before = project.weights() | project.results()
    assert project.stages() == {"plan", "aggregate", "train@glyphs-linear_probe"} | MAML
    after = project.weights() | project.results()
    changed = {p.relative_to(project.root) for p, t in after.items() if before.get(p) != t}
    assert {f"{p.parts[1]}/{p.parts[2]}" for p in changed} == {
        "glyphs/linear_probe",
        "glyphs/maml",
        "sinusoid/maml",
    }


def test_more_evaluation_episodes_rerun_evaluation_alone(project) -> None:
    before = project.weights()
    project.params(lambda v: v["classification"]["evaluation"].update(episodes=12))
    stages = project.stages()
    assert not [s for s in stages if s.startswith(("train", "pretrain", "download"))]
    assert {s for s in stages if s.startswith("evaluate@")} == {"evaluate@glyphs"}
    assert project.weights() == before
    assert len(pd.read_parquet(project.root / "results/glyphs/maml/0.parquet")) == 24


def test_an_added_seed_reuses_the_finished_ones_through_a_kill_and_a_damaged_result(
    project,
) -> None:
    before = project.weights()
    project.params(lambda v: v.update(seeds=[0, 1]))
    damaged = project.root / "results/glyphs/protonet/0.parquet"
    damaged.write_bytes(damaged.read_bytes()[:200])
    shutil.rmtree(project.root / ".dvc/cache", ignore_errors=True)
    process = project.start()
    assert process.stdout is not None
    for line in process.stdout:
        if "Running stage 'evaluate@glyphs'" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode != 0
    lock_file = project.root / "dvc.lock"
    lock_file.write_text(lock_file.read_text()[:-100] + "    o")
    code, output = project.repro()
    assert code != 0 and "dvc.lock" in output
    assert "dvc.lock was damaged" in repair(project.root)[0]
    project.stages()
    after = project.weights()
    assert {p: t for p, t in after.items() if p in before} == before
    assert len(after) == 2 * len(before)
    for method in ("maml", "protonet", "nearest_neighbour", "linear_probe"):
        results = sorted(project.root.glob(f"results/glyphs/{method}/*.parquet"))
        assert [path.name for path in results] == ["0.parquet", "1.parquet"]
        assert all(len(pd.read_parquet(path)) == 24 for path in results)
