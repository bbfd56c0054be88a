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
from metabench.pipeline.repair import repair


def heed_interrupts() -> None:
    """In a child: Ctrl-C has its effect, whatever our own parent (nohup, some CI) makes of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ignore_interrupts() -> None:
    """In a child: as below nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


README = Path(__file__).parents[2] / "README.md"


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
            preexec_fn=heed_interrupts,
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


def scored(path: Path) -> int:
    """Test episodes in a result."""
    return int(pd.read_parquet(path)["partition"].eq("test").sum())


def wait_for_stage(process: subprocess.Popen[str]) -> None:
    """Until a stage's own Python has computed for half a second, whatever the load."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                is_stage = "python" in child.name() and "stages.train" in child.cmdline()
                if is_stage and child.cpu_times().user > 0.5:
                    return
        time.sleep(0.05)
    raise AssertionError("dvc started no stage")


AFTER_AN_EDIT = {"plan", "train", "evaluate", "aggregate"}


def test_an_unknown_method_ends_in_a_message_that_names_it_and_the_nearest(project) -> None:
    def misspell(values) -> None:
        values["classification"]["methods"][0] = "mmal"

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
        if "Running stage 'train'" in line:
            wait_for_stage(process)
            os.killpg(process.pid, signal.SIGINT)
            break
    output += process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "interrupted. Nothing is lost" in output and "Traceback" not in output
    assert not list(project.root.glob("**/.tmp-*"))


@pytest.mark.parametrize("heeded", [True, False])
def test_interrupting_the_imports_of_a_stage_ends_in_the_same_message_but_not_below_nohup(
    project, tmp_path, heeded
) -> None:
    (tmp_path / "torch.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(1)\n"
        "    os._exit(7)\n"
        "except BaseException as error:\n"
        "    raise ImportError('as C extensions say whatever happened') from error\n"
    )
    path = f"{tmp_path}{os.pathsep}{project.root}"
    ended = subprocess.run(
        [sys.executable, "-m", "stages.episodes"],
        cwd=project.root,
        env=project.environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=heed_interrupts if heeded else ignore_interrupts,
    )
    message = (
        "interrupted. Nothing is lost: finished cells are kept, `dvc repro` goes on from here.\n"
    )
    assert (ended.returncode, ended.stderr) == ((130, message) if heeded else (7, ""))


def test_the_next_repro_finishes_and_writes_a_leaderboard(project) -> None:
    assert project.stages() >= {"train", "evaluate", "aggregate"}
    board = (project.root / "reports/smoke/leaderboard.md").read_text()
    for method in ("maml", "protonet", "nearest_neighbour"):
        assert method in board
    rows = pd.read_parquet(project.root / "results/glyphs/maml/1200-examples/0.parquet")
    assert set(rows["target"]) == {"glyphs", "digits"}
    assert (project.root / "mlflow.db").exists()


def test_a_second_repro_looks_and_does_nothing(project) -> None:
    before = project.weights() | project.results()
    assert project.stages() == {"plan"}
    assert project.weights() | project.results() == before


def test_an_added_seed_reuses_the_finished_ones_through_a_kill_and_a_damaged_result(
    project,
) -> None:
    before = project.weights()
    project.params(lambda v: v.update(seeds=[0, 1]))
    damaged = project.root / "results/glyphs/protonet/1200-examples/0.parquet"
    damaged.write_bytes(damaged.read_bytes()[:200])
    shutil.rmtree(project.root / ".dvc/cache", ignore_errors=True)
    process = project.start()
    assert process.stdout is not None
    for line in process.stdout:
        if "Running stage 'evaluate'" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode != 0
    lock_file = project.root / "dvc.lock"
    whole = lock_file.read_text()
    lock_file.write_text(whole[: whole.rindex("md5:") + 2])  # cut off in the middle of a key
    code, output = project.repro()
    assert code != 0 and "dvc.lock" in output
    assert "dvc.lock was damaged" in repair(project.root)[0]
    project.stages()
    after = project.weights()
    assert {p: t for p, t in after.items() if p in before} == before
    assert len(after) == 2 * len(before)
    for method in ("maml", "protonet", "nearest_neighbour"):
        results = sorted(project.root.glob(f"results/glyphs/{method}/**/*.parquet"))
        assert [path.name for path in results] == ["0.parquet", "1.parquet"]
        assert all(scored(path) == 20 for path in results)


OWN = "my_pkg:NearestShot"


@pytest.mark.slow
@pytest.mark.case("01")
def test_an_edited_and_an_added_method_run_their_cells_and_the_report_alone(project) -> None:
    def add(values) -> None:
        values["classification"]["methods"].append(OWN)

    project.stages()  # all is finished, whatever has run before
    example = re.search(r"```python\n(# my_pkg\.py.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    (project.root / "my_pkg.py").write_text(example[1])
    with (project.root / "metabench/methods/optimisation/maml.py").open("a") as file:
        file.write("\nEDITED = True\n")
    project.params(add)
    before = project.weights() | project.results()
    assert project.stages() == AFTER_AN_EDIT | {"pretrain"}  # the added one is the first to ask
    after = project.weights() | project.results()
    changed = {p.relative_to(project.root) for p, t in after.items() if before.get(p) != t}
    assert {f"{p.parts[1]}/{p.parts[2]}" for p in changed} == {
        f"glyphs/{OWN}",
        "glyphs/maml",
        "sinusoid/maml",
    }


@pytest.mark.slow
@pytest.mark.case("01")
def test_more_evaluation_episodes_rerun_evaluation_and_an_edited_method_its_training_alone(
    project,
) -> None:
    path, result = (
        project.root / "my_pkg.py",
        project.root / f"results/glyphs/{OWN}/1200-examples/0.parquet",
    )
    before, nearest = project.weights(), pd.read_parquet(result)["value"].mean()
    project.params(lambda v: v["classification"]["evaluation"].update(episodes=12))
    path.write_text(path.read_text().replace("return -far", "return far"))
    assert not project.stages() & {"download", "embed"}
    own = {p for p in before if OWN in p.parts}
    after = project.weights()
    assert {p for p in after if before.get(p) != after[p]} == own != set()
    assert scored(project.root / "results/glyphs/maml/1200-examples/0.parquet") == 24
    farthest = pd.read_parquet(result)["value"].mean()
    assert farthest < 0.2 < nearest, "the same figures as before the edit"
