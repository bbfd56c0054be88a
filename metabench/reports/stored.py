"""The scores of a board, stored beside it: from them all of it can be made again, without training.

``scores.parquet`` is what :func:`metabench.reports.scores.condense` makes, the score of each
episode included, ``cells.json`` the record of each cell; ``params.yaml`` stands with them. They are
small enough to commit. Reports are always made of what is stored: a clone makes the same bytes.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from metabench.config.yaml_file import parse
from metabench.files import DAMAGED, InputError, atomic, digest, read_json, write_json, write_text
from metabench.pipeline.results import VAL
from metabench.reports.scores import COLUMNS, RAW, UNCALIBRATED
from metabench.reports.summary import COSTS, FLAGS

SCORES, CELLS, PARAMS = NAMES = ("scores.parquet", "cells.json", "params.yaml")
DISTINCT = 2**14
"""Bytes of values that are written once and then numbered: accuracies are few, errors are not."""


def store(scores: pd.DataFrame, costs: pd.DataFrame, folder: Path, meta: dict[str, Any]) -> None:
    """Write the scores and records of a board into ``folder``.

    Args:
        scores: of :func:`metabench.reports.scores.condense`.
        costs: one record per cell.
        meta: ``profile``, ``git_commit``, ``seeds``, ``params``.
    """
    table = pa.Table.from_pandas(scores, preserve_index=False).replace_schema_metadata()
    options = {"compression": "zstd", "compression_level": 19}
    with (
        atomic(folder / SCORES) as temporary,
        pq.ParquetWriter(
            temporary, table.schema, dictionary_pagesize_limit=DISTINCT, **options
        ) as writer,
    ):
        for metric in sorted(scores["metric"].unique()):
            writer.write_table(table.filter(pa.array(scores["metric"] == metric)))
    write_text(folder / PARAMS, yaml.safe_dump(meta["params"], sort_keys=False))
    facts = {name: meta[name] for name in ("profile", "git_commit", "seeds")}
    facts |= {"scores": digest(folder / SCORES), "params": _digest(meta["params"])}
    write_json(folder / CELLS, facts | {"cells": costs.to_dict("records")})


def stored(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """What :func:`store` was given.

    Raises:
        InputError: the folder has no stored board, a damaged one, one of another version, or files
            of several boards.
    """
    missing = [name for name in NAMES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: no {' and no '.join(missing)}, which a board can be made again from. Make "
            "it with `dvc repro`."
        )
    with _named(folder / SCORES):
        scores = pd.read_parquet(folder / SCORES)
        if list(scores.columns[: len(COLUMNS)]) != COLUMNS:
            scores = _of_version_0_2(scores)
    with _named(folder / CELLS):
        facts = read_json(folder / CELLS)
        costs = pd.DataFrame(facts.pop("cells"))
        meta = {name: facts[name] for name in ("profile", "git_commit", "seeds")}
        if lacking := [name for name in (*COSTS, *FLAGS) if name not in costs]:
            raise ValueError(f"of another version: records have no '{lacking[0]}'")
    meta["params"] = parse(folder / PARAMS)
    for name, found in (
        (SCORES, facts.get("scores") == digest(folder / SCORES)),
        (PARAMS, facts.get("params") == _digest(meta["params"])),
    ):
        if not found:
            raise InputError(
                f"{folder / name}: not what {CELLS} was written with: it was edited, or is of "
                "another board. Take both from the repository again, or make them with `dvc repro`."
            )
    return scores, costs, meta


def _of_version_0_2(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores as they were stored before temperatures: likelihood is of logits as they are.

    Settings were chosen on ``val`` alone.
    """
    if list(scores.columns[: len(UNCALIBRATED)]) != UNCALIBRATED:
        raise ValueError("other columns than those of scores")
    others = [name for name in scores.columns if name not in UNCALIBRATED]
    raw = {f"raw_{name}": scores[name] for name in RAW}
    missing: dict[str, Any] = {"temperature": np.nan, "selection": VAL, "split": 0}
    return scores.assign(**missing, **raw)[[*COLUMNS, *others]]


def _digest(params: Any) -> str:
    """Of parameters, however their file is laid out."""
    return digest(json.dumps(params, sort_keys=True))


@contextlib.contextmanager
def _named(path: Path) -> Any:
    try:
        yield
    except (*DAMAGED, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: damaged ({error}). Take it from the repository again, or make it with "
            "`dvc repro`."
        ) from error
