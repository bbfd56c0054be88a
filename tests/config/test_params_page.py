"""docs/params.md has every field of params.yaml, no other, each with the default that holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from metabench.config import Config, TaskType, load
from metabench.config.own_data import OwnData
from metabench.config.task_types import Regression, Strict, Texts
from tests.toy import root_of_repository

PAGE = (root_of_repository() / "docs/params.md").read_text()
REQUIRED = "required"


def fields(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of all fields and their defaults as YAML has them."""
    for name, field in model.model_fields.items():
        inner, default = model_in(field.annotation), field.get_default(call_default_factory=True)
        if inner is field.annotation:
            shown = default.model_dump(mode="json") if default else {}
            yield from ((k, own(shown, k, v)) for k, v in fields(inner, f"{before}{name}."))
            continue
        yield f"{before}{name}", REQUIRED if field.is_required() else plain(default)
        if inner is not None and not issubclass(inner, TaskType) and name != "backbone":
            marks = {tuple: "[]", dict: ".<name>"}
            mark = marks.get(type(default), "")
            yield from fields(inner, f"{before}{name}{mark}.")


def own(shown: dict[str, Any], name: str, default: Any) -> Any:
    """The default of a field where its section's default says another, as a backbone's name."""
    return shown.get(name.split(".")[-1], default) if default == REQUIRED else default


def model_in(annotation: Any) -> type[Strict] | None:
    """The section that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return annotation
    return next(filter(None, map(model_in, get_args(annotation))), None)


def plain(value: Any) -> Any:
    """A default as YAML has it; of sections in a list what is not their own default."""
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return value.model_dump(exclude_defaults=True) if isinstance(value, Strict) else value


def table(heading: str, column: int = 1) -> dict[str, Any]:
    """Names and values in the table below a heading or a sentence."""
    rows = re.findall(r"^\| `(.*)$", PAGE.split(heading)[1].split("\n\n")[1], re.MULTILINE)
    cells = [[cell.strip(" `") for cell in row.split("|")] for row in rows]
    return {row[0]: yaml.safe_load(row[column]) for row in cells}


def test_the_table_of_the_top_has_every_field_with_its_default() -> None:
    expected = {k: v for k, v in fields(Config) if not k.startswith("datasets.")}
    for name in ("classification", "regression", "text", "relations"):
        assert expected[name] is None
        expected[name] = "absent"
    assert table("## At the top") == expected


def test_the_table_of_a_task_type_has_every_field_with_its_default() -> None:
    assert table("## A task type") == dict(fields(TaskType))


def test_the_table_of_own_data_has_every_field_with_its_default() -> None:
    assert table("the digest of the content, not the path.") == dict(fields(OwnData))


def test_what_differs_in_other_task_types_is_all_there() -> None:
    common, text, regression = (dict(fields(kind)) for kind in (TaskType, Texts, Regression))
    differing = {k for k in common if not common[k] == text[k] == regression[k]}
    heading = "Other task types have other defaults:"
    assert table(heading, 1) == {name: text[name] for name in differing}
    assert table(heading, 2) == {name: regression[name] for name in differing}


def test_the_short_file_of_the_page_is_whole(tmp_path) -> None:
    (tmp_path / "params.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    assert load(tmp_path / "params.yaml").used == ("glyphs", "digits")
