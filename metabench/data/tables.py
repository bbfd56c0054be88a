"""Tables as people have them: each row is read, or named with the reason why it cannot be.

CSV with any separator, JSON, JSON lines and Parquet, packed by gzip or not. pandas does not read
them: it passes over rows that Python's CSV reader refuses, and tells nobody.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metabench.files import InputError

SEPARATORS = (",", ";", "\t", "|")
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings that a file names by its first bytes."""
OTHERS = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook, or an archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
"""What else people hand over, by its first bytes."""
REASONS = {
    "expected after": "a quote within quotes that is not doubled",
    "unexpected end": "a quote opens that nothing closes",
    "new-line": "a carriage return outside quotes",
}
"""What Python's messages on a CSV row mean."""


class Row(NamedTuple):
    """Text and label of a row as they are written, or why it cannot be read, and its line."""

    text: str = ""
    label: str = ""
    reason: str = ""
    line: int = 0


def read_table(
    file: Path, text: str, label: str, separator: str = "", encoding: str = ""
) -> list[Row]:
    """All rows of ``file``, in order; a missing value is empty. Blank lines are no rows.

    Args:
        text: name of the column of texts; ``label``: of labels.
        separator: of CSV; empty: the one of ``SEPARATORS`` that splits the header into both.
        encoding: empty: the one that the file's first bytes name, else UTF-8.

    Raises:
        InputError: no such file, not a table, or not one with these columns.
    """
    content = _content(file)
    if content.startswith(b"PAR1"):
        return _parquet(file, content, text, label)
    decoded = _decoded(file, content, encoding)
    if Path(file.name.removesuffix(".gz")).suffix.lower() in (".json", ".jsonl", ".ndjson"):
        return _json(file, decoded, text, label)
    before = csv.field_size_limit(sys.maxsize)
    try:
        return _csv(file, decoded, text, label, separator)
    finally:
        csv.field_size_limit(before)


def _content(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(
            f"{file}: is a folder. --csv takes a file; a folder of images goes to --images."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    for start, what in OTHERS.items():
        if content.startswith(start):
            raise InputError(
                f"{file}: is {what}, no table in plain text. Save it as 'CSV UTF-8' and pass that."
            )
    return content


def _decoded(file: Path, content: bytes, encoding: str) -> str:
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    if not encoding and marked == "utf-8" and b"\0" in content[:2]:
        raise InputError(
            f"{file}: not a CSV file in UTF-8, but probably in UTF-16 without a mark. Save it as "
            "'CSV UTF-8', or name its encoding: --encoding utf-16-le or utf-16-be."
        )
    try:
        text = content.decode(encoding or marked).removeprefix("\ufeff")
    except LookupError as error:
        raise InputError(
            f"--encoding {encoding}: unknown. Common ones: utf-8, utf-16, cp1252, latin-1."
        ) from error
    except UnicodeError as error:
        line = content.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise InputError(
            f"{file}: not a CSV file in {(encoding or marked).upper()} (line {line}). Save it as "
            "'CSV UTF-8', or name its encoding, such as --encoding cp1252 (western Windows)."
        ) from error
    if not text.strip():
        raise InputError(f"{file}: not a CSV file in UTF-8: its {len(content)} bytes hold no row")
    return text


def _csv(file: Path, content: str, text: str, label: str, separator: str) -> list[Row]:
    end = re.search("\r\n|\n|\r", content)
    parts = content.split("\r" if end and end[0] == "\r" else "\n")
    lines = [f"{part}\n" for part in parts]
    stated = re.fullmatch("sep=(.)\r?\n", lines[0])  # Excel's own way to name it
    start = 1 if stated else 0
    wanted = {"tab": "\t", "\\t": "\t"}.get(separator, separator) or (stated[1] if stated else "")
    if len(wanted) > 1 or wanted in ('"', "\n", "\r"):
        raise InputError(f"--separator {separator}: must be one character, or `tab`")
    headers = {mark: _header(lines, start, mark) for mark in (wanted or SEPARATORS)}
    mark = max(headers, key=lambda m: ({text, label} <= {*headers[m][1]}, len(headers[m][1])))
    start, header = headers[mark]
    hint = "The first row is taken as the header: if it is none, add one."
    if len(header) < 2:
        hint = "Something else separates them? Name it: --separator."
    at, kind = _columns(file, header, text, label, hint)

    known = {
        fields[kind].strip()
        for _, _, fields in _records(lines, start, mark)
        if not isinstance(fields, str) and len(fields) == len(header)
    }

    def several(part: Sequence[str], found: Sequence[str]) -> bool:
        split = [line.split(mark) for line in part]
        labels = [fields[kind].strip() for fields in split if len(fields) == len(header)]
        right = [label for label in labels if not known or label in known]
        return len(right) > (max(1, len(part) // 2) if len(found) == len(header) else 0)

    rows = []
    for begin, _, fields in _records(lines, start, mark, several):
        if isinstance(fields, str):
            rows.append(Row(reason=fields, line=begin + 1))
        elif len(fields) != len(header):
            count = f"{len(fields)} field{'s' if len(fields) > 1 else ''}"
            rows.append(Row(reason=f"{count}, the header has {len(header)}", line=begin + 1))
        else:
            rows.append(Row(fields[at], fields[kind]))
    return rows


def _records(
    lines: Sequence[str],
    start: int,
    mark: str,
    several: Callable[[Sequence[str], Sequence[str]], bool] = lambda part, found: False,
) -> Iterator[tuple[int, int, list[str] | str]]:
    """``(line, line after it, its fields or what is wrong)`` of each record, lines from 0.

    Whatever is wrong costs one line: reading goes on with the next. So it does where ``several``
    says of a record's lines and fields that they are rows: stray quotes opened and closed it.
    """
    while start < len(lines):
        base = start
        ahead = map(lines.__getitem__, range(start, len(lines)))
        reader = csv.reader(ahead, delimiter=mark, strict=True, skipinitialspace=True)
        try:
            for fields in reader:
                end = base + reader.line_num
                if end > start + 1 and several(lines[start:end], fields):
                    raise csv.Error(f"its quote closes on line {end} only, after other rows")
                if len(fields) > 1 or "".join(fields).strip():
                    yield start, end, fields
                start = end
        except csv.Error as error:
            reason = str(error)
            reason = next((plain for part, plain in REASONS.items() if part in reason), reason)
            yield start, start + 1, reason
            start += 1


def _header(lines: Sequence[str], start: int, mark: str) -> tuple[int, list[str]]:
    """The line on which rows begin, and the columns; none where ``mark`` cannot split them."""
    for _, end, fields in _records(lines, start, mark):
        return end, [] if isinstance(fields, str) else [name.strip() for name in fields]
    return start, []


def _columns(file: Path, names: Sequence[str], text: str, label: str, hint: str) -> tuple[int, int]:
    """Where among ``names`` the two columns are."""
    for option, name in (("--text-column", text), ("--label-column", label)):
        count = names.count(name)
        if count > 1:
            raise InputError(f"{file}: has {count} columns '{name}' ({option}): rename all but one")
        if count == 0:
            folded = {known.casefold(): known for known in names}
            near = difflib.get_close_matches(name.casefold(), folded, n=1)
            fix = f"Did you mean {option} '{folded[near[0]]}'?" if near else hint
            columns = ", ".join(known[:40] for known in names)
            raise InputError(
                f"{file}: has no column '{name}' ({option}). Columns: {columns}. {fix}"
            )
    return names.index(text), names.index(label)


def _json(file: Path, content: str, text: str, label: str) -> list[Row]:
    """An array of objects, or an object on each line."""

    def parsed(part: str) -> Any:  # numbers keep their written form
        return json.loads(part, parse_int=str, parse_float=str)

    try:
        records = parsed(content) if content.lstrip().startswith("[") else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON ({error})") from error
    if records is None:
        records = []
        for number, line in enumerate(content.split("\n"), 1):
            try:
                records += [parsed(line)] if line.strip() else []
            except (ValueError, RecursionError):
                records.append(Row(reason="not valid JSON", line=number))
    names = list(dict.fromkeys(k for r in records if isinstance(r, dict) for k in r))
    _columns(file, names, text, label, "Each row is a JSON object with both.")
    return [r if isinstance(r, Row) else _row(r, text, label) for r in records]


def _parquet(file: Path, content: bytes, text: str, label: str) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
        at, kind = _columns(file, table.column_names, text, label, "")
        pairs = table.select([at, kind]).rename_columns([text, label]).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{file}: not a Parquet file ({error})") from error
    return [_row(pair, text, label) for pair in pairs]


def _row(record: Any, text: str, label: str) -> Row:
    """What ``record`` has in the two columns."""
    if not isinstance(record, dict):
        return Row(reason="no JSON object")
    values = []
    for name in (text, label):
        value = record.get(name)
        if isinstance(value, dict | list | bytes):
            return Row(reason=f"its '{name}' is neither text nor a number")
        values.append("" if value is None or value != value else str(value))
    return Row(text=values[0], label=values[1])
