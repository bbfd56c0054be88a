"""Types of names from outside. They become folders and words of commands: none may be a path."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from metabench.files import InputError, plain_name

TAKEN = {
    "backbones", "benchmarks", "build", "data", "docs", "dvc.lock", "dvc.yaml", "examples",
    "makefile", "metabench", "mlartifacts", "mlflow.db", "mlruns", "params.yaml", "practice",
    "profiles",
    "results", "runs", "stages", "studies", "tests",
}  # fmt: skip
"""What is at the root of a project, or comes to be there."""


def plain(name: str) -> str:
    """:func:`metabench.files.plain_name` for pydantic.

    Raises:
        ValueError: ``name`` is none.
    """
    try:
        return plain_name(name, "")
    except InputError as error:
        raise ValueError(str(error).removeprefix(": ")) from error


def of_code(name: str) -> str:
    """``name``, if it can be registered, or is the dotted path ``package.module:Thing``.

    Raises:
        ValueError: it is neither.
    """
    module, colon, thing = name.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), thing)):
        return f"{plain(module)}:{plain(thing)}"
    return plain(name)


def of_variant(name: str) -> str:
    """``name``, if its folder can stand beside those of methods.

    Raises:
        ValueError: it cannot.
    """
    if name == BACKBONE:
        raise ValueError(f"'{BACKBONE}' is the name of the pretraining. Take another")
    return plain(name)


def of_reports(folder: str) -> str:
    """``folder``, if it is one below the project's root and nothing else is in it.

    Raises:
        ValueError: it is not.
    """
    parts = [plain(part) for part in folder.split("/")]
    if parts[0].casefold() in TAKEN:
        raise ValueError(f"'{folder}' is where the project keeps something else. Take reports/NAME")
    return folder


PlainName = Annotated[str, AfterValidator(plain)]
CodeName = Annotated[str, AfterValidator(of_code)]
VariantName = Annotated[str, AfterValidator(of_variant)]
ReportsFolder = Annotated[str, AfterValidator(of_reports)]

BACKBONE = "backbone"
"""Name of the pretrained backbone's folder, beside the methods'."""
