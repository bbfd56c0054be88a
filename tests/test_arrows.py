"""The rooms of the package: who may import whom, read from the imports of every module.

An import counts wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``. What a
registry holds are names, looked up when somebody asks for one: these are no imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = """
metabench.__init__, metabench.__main__
metabench.cli
stages
metabench.practice
metabench.reports, metabench.tracking
metabench.conformance, metabench.pipeline
metabench.learning
metabench.methods
metabench.episodes
metabench.backbones, metabench.data
metabench.registry, metabench.runtime
metabench.config
metabench.files, metabench.rng, metabench.shown
"""
"""A room imports from the lines below its own; never from above, nor from its neighbour."""

FLOOR = {
    room: -height
    for height, line in enumerate(ROOMS.strip().splitlines())
    for room in line.split(", ")
}
METHODS, PARTS = "metabench.methods.", "metabench.methods.parts"
SHARED_BY_METHODS = (PARTS, "metabench.methods.base")
READ_FILES = {"metabench.files", "os", "pathlib", "shutil"}
KNOW_NO_FILES = ("metabench.methods.", "metabench.learning.")
USERS = {
    "dvc": {"metabench.pipeline"},
    "mlflow": {"metabench.tracking", "metabench.practice", "metabench.cli"},
}
"""The rooms that know a tool."""


def name_of(path: Path, root: Path) -> str:
    """``metabench.data.base`` for ``metabench/data/base.py``."""
    return ".".join(path.relative_to(root).with_suffix("").parts)


def modules(root: Path) -> dict[str, Path]:
    """Name and file of every module of metabench and stages under ``root``."""
    return {
        name_of(path, root): path
        for folder in ("metabench", "stages")
        for path in sorted((root / folder).rglob("*.py"))
    }


def imports(name: str, path: Path) -> Iterator[str]:
    """All that the module imports, down to the imported name: ``package.module.name``."""
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*near, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room_of(imported: str) -> str | None:
    """The room in which a module or name lives, ``None`` outside of metabench."""
    first, *rest = imported.split(".")
    if first == "stages":
        return "stages"
    if first != "metabench" or not rest:  # the bare package: its version and its folder
        return None
    room = f"metabench.{rest[0]}"
    return room if room in FLOOR else "metabench.__init__"


def wrong_arrows(root: Path) -> list[str]:
    """Imports under ``root`` that do not run down."""
    return [
        f"{name} imports {imported}"
        for name, path in modules(root).items()
        for imported in imports(name, path)
        if (room := room_of(name)) and (other := room_of(imported)) and other != room
        if FLOOR[other] >= FLOOR[room]
    ]


def wrong_in_methods(root: Path) -> list[str]:
    """Imports in ``methods`` of a single method."""
    return [
        f"{name} imports {imported}"
        for name, path in modules(root).items()
        if name.startswith(METHODS)
        for imported in imports(name, path)
        if imported.startswith(METHODS) and not imported.startswith(SHARED_BY_METHODS)
    ]


def readers_of_files(root: Path) -> list[str]:
    """Imports of what reads and writes files, in rooms that shall know none."""
    return [
        f"{name} imports {imported}"
        for name, path in modules(root).items()
        if name.startswith(KNOW_NO_FILES)
        for imported in imports(name, path)
        if {imported, imported.split(".")[0], imported.rpartition(".")[0]} & READ_FILES
        and imported != "metabench.files.InputError"
    ]


def strangers(root: Path) -> list[str]:
    """Imports of a tool by rooms that shall not know it."""
    return [
        f"{name} imports {imported}"
        for name, path in modules(root).items()
        for imported in imports(name, path)
        if room_of(name) not in USERS.get(imported.split(".")[0], {room_of(name)})
    ]


def test_every_module_has_a_room() -> None:
    homeless = {
        name
        for name in modules(ROOT)
        if name.split(".")[0] != "stages" and ".".join(name.split(".")[:2]) not in FLOOR
    }
    assert homeless == set()
    rooms = {
        ".".join(name.split(".")[:2]) for name in modules(ROOT) if name.startswith("metabench")
    }
    assert set(FLOOR) == rooms | {"stages"}


def test_imports_run_down() -> None:
    assert wrong_arrows(ROOT) == []


def test_a_method_imports_the_shared_parts_and_no_other_method() -> None:
    assert wrong_in_methods(ROOT) == []


def test_methods_and_learning_know_no_files() -> None:
    assert readers_of_files(ROOT) == []


def test_dvc_and_mlflow_are_known_to_the_rooms_that_serve_them() -> None:
    assert strangers(ROOT) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("metabench/data/mine.py", "from metabench.episodes import Episodes"),
        ("metabench/data/mine.py", "from ..episodes import Episodes"),
        ("metabench/data/mine.py", "from .. import episodes"),
        ("metabench/data/__init__.py", "from ..episodes import Episodes"),
        ("metabench/learning/mine.py", "def f():\n    import metabench.pipeline.cells"),
        (
            "metabench/methods/parts/mine.py",
            "if TYPE_CHECKING:\n    from metabench import learning",
        ),
        ("metabench/reports/mine.py", "from metabench.tracking.runs import track_cell"),
        ("metabench/pipeline/mine.py", "from metabench import FewShotClassifier"),
        ("metabench/practice/mine.py", "from stages import run"),
        ("metabench/files.py", "from metabench.config import Config"),
    ],
)
def test_an_import_that_runs_up_or_aside_is_caught(tmp_path, module, line) -> None:
    path = tmp_path / module
    path.parent.mkdir(parents=True)
    path.write_text(f"import torch\nimport metabench\n\n{line}\n")
    path.with_name("honest.py").write_text("from metabench.files import atomic\nimport metabench\n")
    assert [found.split()[0] for found in wrong_arrows(tmp_path)] == [name_of(path, tmp_path)]


@pytest.mark.parametrize(
    "line",
    ["from metabench.methods.metric.protonet import ProtoNet", "from ..metric import protonet"],
)
def test_a_method_that_imports_a_method_is_caught(tmp_path, line) -> None:
    path = tmp_path / "metabench/methods/model/mine.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "from ..parts.logistic import logistic\nfrom metabench.files import InputError\n"
        f"from metabench.methods.base import Method\n{line}\n"
    )
    assert len(wrong_in_methods(tmp_path)) == 1


@pytest.mark.parametrize("room", ["methods/model", "learning"])
@pytest.mark.parametrize(
    "line",
    [
        "from metabench.files import write_json",
        "import os.path",
        "def f():\n    from pathlib import Path",
    ],
)
def test_a_method_or_a_loop_that_reads_files_is_caught(tmp_path, room, line) -> None:
    path = tmp_path / f"metabench/{room}/mine.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"import torch\nfrom metabench.files import InputError\n{line}\n")
    assert len(readers_of_files(tmp_path)) == 1


@pytest.mark.parametrize(
    "line", ["import mlflow.pyfunc", "def f():\n    from dvc.repo import Repo"]
)
def test_a_room_below_that_imports_a_tool_is_caught(tmp_path, line) -> None:
    path = tmp_path / "metabench/learning/mine.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"import torch\n{line}\n")
    assert len(strangers(tmp_path)) == 1


def test_the_tests_mirror_the_rooms() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/*/**/*.py")}
    package = {name.replace(".", "/") for name in modules(ROOT)}
    assert folders
    for folder in folders:
        mirrored = folder if folder.parts[0] == "stages" else "metabench" / folder
        assert {f"{mirrored}", f"{mirrored}/__init__"} & package, f"tests/{folder} mirrors nothing"
