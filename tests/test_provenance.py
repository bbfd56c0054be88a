"""What a result depends on is looked at: a method's own code, and all that it imports."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from metabench.provenance import code_of
from tests.toy import root_of_repository

METHOD = "from metabench.methods.base import FeatureMethod\n"


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write files into a folder on the path, as a user's project has them."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def own(code: dict[str, str]) -> set[str]:
    return {name for name in code if not name.startswith("metabench")}


@pytest.mark.case("02")
def test_a_method_in_one_file_is_looked_at_with_the_protocol_it_keeps(written) -> None:
    written(alone_own=METHOD)
    code = code_of("alone_own")
    assert own(code) >= {"alone_own"} and "metabench.methods.base" in code


@pytest.mark.case("02")
@pytest.mark.xfail(strict=True)
def test_relative_imports_and_modules_beside_it_are_looked_at(written) -> None:
    written(
        mypk__in____init__="",
        mypk__in__helper="F = 1\n",
        mypk__in__near="from .helper import F\n" + METHOD,
        sib_helper="F = 1\n",
        sib="from sib_helper import F\n" + METHOD,
    )
    assert own(code_of("mypk.near")) >= {"mypk.near", "mypk.helper", "mypk"}
    assert own(code_of("sib")) >= {"sib", "sib_helper"}


@pytest.mark.case("01")
@pytest.mark.xfail(strict=True)
def test_every_repro_looks_at_the_code_that_params_name() -> None:
    graph = yaml.safe_load(Path(root_of_repository() / "dvc.yaml").read_text())
    assert graph["stages"]["plan"]["always_changed"]
