"""What a result depends on is looked at: a method's own code, and all that it imports."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from metabench import registry
from metabench.methods import METHODS
from metabench.pipeline import fingerprint
from metabench.pipeline.fingerprint import code_fingerprint, files_of

METHOD = "from metabench.methods.base import FeatureMethod\n"


def forget() -> None:
    for remembered in (*vars(fingerprint).values(), *vars(registry).values()):
        getattr(remembered, "cache_clear", lambda: None)()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's folder on the path; returns what writes files into it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        forget()

    yield write
    forget()


def own(module: str) -> set[str]:
    return {name for name in code_fingerprint(module) if not name.startswith("metabench")}


@pytest.mark.case("02")
def test_a_method_in_one_file_is_looked_at_with_the_protocol_it_keeps(project) -> None:
    project({"alone_own.py": METHOD})
    assert "metabench.methods.base" in code_fingerprint("alone_own")
    assert own("alone_own") == {"alone_own", "numpy", "torch", "pydantic"}


@pytest.mark.case("02")
def test_relative_imports_and_modules_beside_it_are_looked_at(project) -> None:
    project(
        {
            "mypk/__init__.py": "",
            "mypk/helper.py": "F = 1\n",
            "mypk/near.py": "from .helper import F\n" + METHOD,
            "sib_helper.py": "F = 1\n",
            "sib.py": "from sib_helper import F\n" + METHOD,
        }
    )
    assert own("mypk.near") >= {"mypk.near", "mypk.helper", "mypk"}
    assert own("sib") >= {"sib", "sib_helper"}


FORMS = {
    "from .helper import F": "forms.inner.helper",
    "from . import helper": "forms.inner.helper",
    "from ..outer import F": "forms.outer",
    "from .. import outer": "forms.outer",
    "import forms.inner.helper as h": "forms.inner.helper",
    "from forms.inner import *": "forms.inner.helper",
    "def later():\n    from .helper import F": "forms.inner.helper",
    "import importlib\nimportlib.import_module('forms.outer')": "forms.outer",
    "from importlib import import_module\nimport_module('.helper', __package__)": (
        "forms.inner.helper"
    ),
    "__import__('lonely')": "lonely",
    "from lonely import *": "lonely",
}


@pytest.mark.parametrize("statement", FORMS)
def test_an_edit_of_what_is_imported_in_any_form_changes_the_code(project, statement) -> None:
    files = {
        "forms/__init__.py": "",
        "forms/outer.py": "F = 1\n",
        "forms/inner/__init__.py": "__all__ = ['helper']\n",
        "forms/inner/helper.py": "F = 1\n",
        "forms/inner/method.py": statement + "\n",
        "lonely.py": "F = 1\n",
    }
    project(files)
    before, edited = code_fingerprint("forms.inner.method"), FORMS[statement]
    project({f"{edited.replace('.', '/')}.py": "F = 2\n"})
    after = code_fingerprint("forms.inner.method")
    assert {name for name in after if after[name] != before.get(name)} == {edited}
    project({"forms/__init__.py": "ON_THE_WAY = 1\n"})
    assert code_fingerprint("forms.inner.method")["forms"] != after["forms"]


def test_docstrings_comments_and_formatting_change_nothing_and_a_call_does(project) -> None:
    project({"plain.py": "def f(x):\n    print('one')\n    return x\n"})
    before = code_fingerprint("plain")
    text = '"""New."""\n\n\ndef f(x):  # why\n    """What."""\n    print("one")\n\n    return (x)\n'
    project({"plain.py": text})
    assert code_fingerprint("plain") == before
    project({"plain.py": text.replace("one", "two")})
    assert code_fingerprint("plain") != before


@pytest.mark.parametrize(
    "text",
    [
        "from pathlib import Path\nT = Path(__file__).with_name('table.csv')",
        "from pathlib import Path\nT = Path(__file__).parent / 'tables' / 'table.csv'",
        "import os\nT = os.path.join(os.path.dirname(__file__), 'tables', 'table.csv')",
        "T = open('datapk/table.csv')",
        "from pathlib import Path\nT = Path(__file__).parent / 'tables'",
    ],
)
def test_a_file_beside_the_code_that_it_names_is_looked_at(project, text) -> None:
    files = {"datapk/__init__.py": "", "datapk/table.csv": "1", "datapk/tables/table.csv": "1"}
    project(files | {"datapk/method.py": text})
    before = code_fingerprint("datapk.method")
    project({"datapk/table.csv": "22", "datapk/tables/table.csv": "22"})
    assert code_fingerprint("datapk.method") != before


def test_nothing_is_imported_to_be_looked_at(project) -> None:
    project({"loud/__init__.py": "raise SystemExit", "loud/method.py": "from . import other"})
    assert set(code_fingerprint("loud.method")) == {"loud", "loud.method"}
    project({"broken.py": "def f(:\n", "beyond.py": "from ... import far\n"})
    assert set(code_fingerprint("beyond")) == {"beyond"}
    assert set(code_fingerprint("broken")) == {"broken"}


def install(site: Path, origin: dict[str, object] | None, version: str = "1.0") -> None:
    """What pip leaves of a package, in a folder on the path."""
    information = site / "installed_own-1.0.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(f"Name: installed-own\nVersion: {version}\n")
    (information / "RECORD").write_text("installed_own/__init__.py,,\n")
    entries = "[metabench.methods]\nshort_own = installed_own:Near\n"
    (information / "entry_points.txt").write_text(entries)
    if origin is not None:
        (information / "direct_url.json").write_text(json.dumps(origin))


def test_an_installed_package_counts_by_its_version(project, tmp_path) -> None:
    project({"installed_own/__init__.py": "F = 1\n", "user.py": "import installed_own\n"})
    install(tmp_path, None)
    forget()
    assert code_fingerprint("user")[
        "installed-own"
    ] == "1.0" and "installed_own" not in code_fingerprint("user")
    install(tmp_path, None, "1.1")
    forget()
    assert code_fingerprint("user")["installed-own"] == "1.1"


def test_a_package_installed_from_a_folder_counts_by_its_files(project, tmp_path) -> None:
    project({"installed_own/__init__.py": "F = 1\n", "user.py": "import installed_own\n"})
    install(tmp_path, {"url": "file:///somewhere", "dir_info": {}})
    forget()
    before = code_fingerprint("user")
    assert set(before) == {"user", "installed_own"}
    assert METHODS.target("short_own") == "installed_own:Near", "its entry point is a name"
    project({"installed_own/__init__.py": "F = 2\n"})
    assert code_fingerprint("user") != before


def test_the_packages_of_the_libraries_are_named_as_their_distributions(project) -> None:
    project({"uses.py": "import sklearn.svm, PIL\nfrom torch import nn\nimport json\n"})
    versions = {n: importlib.metadata.version(n) for n in ("scikit-learn", "pillow", "torch")}
    code = code_fingerprint("uses")
    assert {n: code[n] for n in versions} == versions and set(code) == {"uses", *versions}


def test_namespace_packages_are_followed(project) -> None:
    project({"space/deep/method.py": "from . import other\n", "space/deep/other.py": "F = 1\n"})
    assert set(code_fingerprint("space.deep.method")) == {"space.deep.method", "space.deep.other"}


def test_a_file_that_a_setting_names_counts_by_its_content(tmp_path) -> None:
    path = tmp_path / "weights.pt"
    settings = {"rate": 0.1, "model": "resnet18", "parts": [{"checkpoint": str(path)}]}
    assert files_of(settings) == {}
    path.write_bytes(b"one")
    before = files_of(settings)
    assert list(before) == [str(path)]
    path.write_bytes(b"other")
    assert files_of(settings) != before


def test_the_code_of_all_cells_needs_no_package_that_is_optional() -> None:
    """Or what was trained before it was installed would be trained again."""
    needed = {"numpy", "pandas", "pydantic", "safetensors", "scipy", "torch"}
    assert {
        name for name in code_fingerprint("metabench.pipeline.evaluating") if "." not in name
    } == needed


def test_names_are_looked_up_without_torch() -> None:
    code = (
        "import sys; from metabench.methods import METHODS; from metabench.data import DATASETS\n"
        "from metabench.backbones import BACKBONES; METHODS.module('maml'); BACKBONES.names()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
