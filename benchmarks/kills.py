"""Kill the pipeline at random, again and again: what is finished at last must be the same bits.

    python -m benchmarks.kills                 # `dvc repro` of the smoke profile, 100 kills
    python -m benchmarks.kills --what bench --kills 10    # `metabench bench` on texts

The work is done once undisturbed, and then over and over in another folder: begun, killed, repaired
(`metabench repair`), gone on with, killed again, until it is finished and compared. DVC alone, its
whole group or one process below it is hit, at a random moment or, in half of the cases, just when
DVC writes ``dvc.lock`` or its rwlock; and as those moments are short, some of these files are cut
at a random byte, as a kill may leave them. Compared are arrays, frozen episodes, vectors, weights,
curves, per-episode scores and records but for times and memory, and the cells that MLflow has.
Whatever was finished before a kill must not be written again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.digests import differences
from metabench.files import digest

PATIENCE = 600.0
"""Seconds after which a process is taken to hang."""
MADE = (
    *("data", "backbones", "runs", "results", "reports", "practice"),
    *("mlruns", ".dvc/tmp", ".dvc/cache"),
)
BUSY = "another metabench process is writing here"
DVC_WRITES = ("dvc.lock", ".dvc/tmp/rwlock")


class Fault(RuntimeError):
    """Something that no kill may lead to."""


def small_project(root: Path) -> dict[str, str]:
    """Copy this checkout's files to ``root``, on the smoke profile; returns its environment."""
    source = Path(__file__).resolve().parents[1]
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=source, capture_output=True, text=True, check=True)
    for name in files.stdout.splitlines():
        if (source / name).is_file() and not name.startswith(("tests/", "reports/", "dvc.lock")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, root / name)
    shutil.copy(root / "profiles/smoke.yaml", root / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return environment


@dataclass
class Work:
    """A command in a project of its own, killed at random.

    Attributes:
        made: the folder, below ``root``, that gets the data, runs and results.
        counts: what was done and met so far.
    """

    root: Path
    command: list[str]
    made: Path
    draw: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    sessions: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.environment = small_project(self.root)
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text())
        values["compute"]["workers"] = 1
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        words = ("red", "green", "blue", "grey", "pink", "black")
        rows = [f"{a} or {b} {i},{a}" for a in words for i, b in enumerate(words) if a != b]
        (self.root / "own.csv").write_text("\n".join(["text,label", *rows, *rows]))

    def start(self) -> subprocess.Popen[bytes]:
        """Begin or go on, in a session of its own, so that all that belongs to it is known."""
        with (self.root / "output.log").open("wb") as output:
            process = subprocess.Popen(
                self.command,
                cwd=self.root,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.add(process.pid)
        return process

    def finish(self) -> None:
        """Run undisturbed to the end."""
        if self.start().wait(PATIENCE):
            raise Fault((self.root / "output.log").read_text())

    def left_running(self) -> list[psutil.Process]:
        """Processes of killed runs that are still at work."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                gone = process.status() == psutil.STATUS_ZOMBIE
                if os.getsid(process.pid) in self.sessions and not gone:
                    found.append(process)
        return found

    def wait_for_all(self) -> None:
        """Until nothing of a killed run is at work."""
        psutil.wait_procs(self.left_running(), PATIENCE)
        if self.left_running():
            raise Fault(f"still running: {self.left_running()}")
        self.sessions.clear()

    def kill_at_some_moment(self, process: subprocess.Popen[bytes]) -> str | None:
        """Send a signal to DVC, to its group or to a process below it; None if all has ended.

        Some stages and cells pass before, and some seconds; and in half of the cases the time until
        DVC writes one of its files. Then DVC itself is hit.
        """
        steps, more = self.draw.randint(0, 3), self.draw.uniform(0, 3)
        aimed = self.draw.random() < 0.5 and "dvc" in self.command
        watched, delay = self.draw.choice([("rwlock", 0.0), ("lock", 0.0), ("lock", 0.02)])
        victim = self.draw.choice(["group", "parent"] if aimed else ["group", "parent", "child"])
        number = self.draw.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGINT], [8, 1, 1])[0]
        while process.poll() is None and self.steps() < steps:
            time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(more)
        if aimed:
            path = self.root / {"lock": "dvc.lock", "rwlock": ".dvc/tmp/rwlock"}[watched]
            before = _stamp(path)
            while process.poll() is None and _stamp(path) == before:
                time.sleep(1e-4)
            time.sleep(self.draw.uniform(0, delay))
        if process.poll() is not None:
            return None
        if victim == "group":
            os.killpg(process.pid, number)
        elif victim == "parent":
            process.send_signal(number)
        else:
            with contextlib.suppress(psutil.Error, IndexError):
                hit = self.draw.choice(psutil.Process(process.pid).children(recursive=True))
                victim = f"child {' '.join(hit.cmdline()[1:4])[:40]}"
                hit.send_signal(number)
        self.counts[f"{number.name} to {victim.split()[0]}"] += 1
        return f"{number.name} to {victim}{' as DVC writes' * aimed}"

    def steps(self) -> int:
        """Stages begun and cells done since the last start."""
        return len(re.findall("Running stage|: done", (self.root / "output.log").read_text()))

    def repair(self, cause: str) -> None:
        """Run `metabench repair`, count what it mended."""
        ended = subprocess.run(
            ["metabench", "repair"],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            raise Fault(ended.stdout + ended.stderr)
        for name in DVC_WRITES:
            if f"{name} was damaged" in ended.stdout:
                self.counts[f"{name} {cause}, mended"] += 1

    def cut(self) -> None:
        """Cut one of DVC's files at a random byte, as a kill in a write does."""
        path = self.root / self.draw.choice(DVC_WRITES)
        if path.exists():
            os.truncate(path, int(self.draw.random() * path.stat().st_size))

    def life(self, limit: int) -> bool:
        """Begin or go on, and kill, if kills are left; whether the work is finished."""
        finished = self.finished()
        began = time.monotonic()
        process = self.start()
        killed = None
        if self.counts["kills"] < limit:
            killed = self.kill_at_some_moment(process)
        after = time.monotonic() - began
        code = process.wait(PATIENCE)
        if killed:
            self.counts["kills"] += 1
            print(f"kill {self.counts['kills']}: {killed} after {after:.1f} s", flush=True)
        elif code:
            output = (self.root / "output.log").read_text()
            if BUSY not in output:
                raise Fault(output)
            self.counts["runs that asked to wait for an orphan"] += 1
            self.wait_for_all()
        if self.draw.random() < 0.5:
            self.wait_for_all()
        if not finished.items() <= self.finished().items():
            raise Fault("what was finished was written again")
        if "dvc" in self.command:
            self.repair("met after a kill")
            if self.draw.random() < 0.25 and code:
                self.cut()
                self.repair("cut by hand")
        return code == 0

    def finished(self) -> dict[Path, int]:
        """The records of finished cells, and when they were written."""
        patterns = ("backbones/**/cell.json", "runs/**/cell.json", "results/**/*.json")
        records = [path for pattern in patterns for path in self.made.glob(pattern)]
        return {path: path.stat().st_mtime_ns for path in records}

    def clear(self) -> None:
        """Back to the beginning."""
        self.wait_for_all()
        for name in MADE:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for path in [self.root / "dvc.lock", *self.root.glob("mlflow.db*")]:
            path.unlink(missing_ok=True)

    def content(self) -> dict[str, Any]:
        """All that must be equal, by file."""
        found: dict[str, Any] = {}
        data = ("data/processed", "data/episodes", "data/embeddings")
        for part in (*data, "backbones", "runs", "results"):
            for path in sorted((self.made / part).rglob("*")):
                if path.is_file() and path.suffix != ".lock":
                    name = str(path.relative_to(self.made))
                    found[name] = _facts(path) if path.suffix == ".json" else digest(path)
        found["reports"] = sorted(p.name for p in self.made.glob("reports/**/*.*") if p.is_file())
        if (self.root / "mlflow.db").exists():
            with contextlib.closing(sqlite3.connect(self.root / "mlflow.db")) as store:
                query = (
                    "select value from tags join runs using (run_uuid) "
                    "where key = 'cell_key' and status = 'FINISHED'"
                )
                found["cells in MLflow"] = sorted(store.execute(query))
        return found


def _stamp(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return None


def _facts(path: Path) -> Any:
    """A record without times, memory and what is derived from them."""
    values = json.loads(path.read_text())
    if isinstance(values, dict):
        values.get("files", {}).pop("cost.json", None)
        return {k: v for k, v in values.items() if not k.endswith(("_seconds", "_ms", "_mb"))}
    return values


def main(what: str, kills: int, seed: int, folder: Path) -> Counter[str]:
    """Kill the work ``kills`` times; returns what was done and met.

    Raises:
        Fault: something ended otherwise than the undisturbed run, was made twice, failed or hung.
    """
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # for the children, where nohup is used
    call = ["dvc", "repro", "-v"]
    if what == "bench":
        call = ["metabench", "bench", "--csv", "own.csv", "--seeds", "3"]
    made = {"repro": ".", "bench": "practice/own"}[what]
    one, other = (
        Work(folder / n, call, folder / n / made, random.Random(seed)) for n in ("whole", "killed")
    )
    one.finish()
    whole = one.content()
    while other.counts["kills"] < kills:
        other.clear()
        while not other.life(kills):
            pass
        other.wait_for_all()
        if wrong := differences(whole, other.content()):
            raise Fault(f"not as the undisturbed run: {wrong}")
        other.counts["run-throughs, all bit-equal"] += 1
        print(f"run-through {other.counts['run-throughs, all bit-equal']}: bit-equal", flush=True)
    return other.counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--what", choices=["repro", "bench"], default="repro")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        counts = main(folder=folder, **vars(arguments))
    except Fault as error:
        sys.exit(f"{error}\nAll is kept in {folder}")
    shutil.rmtree(folder)
    for label, count in sorted(counts.items()):
        print(f"{label:45} {count:4}")
