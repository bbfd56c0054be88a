"""Tables as people have them: found out, or named with the fix."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from metabench.data.own import UserData, read_texts
from metabench.files import InputError

PAIRS = [(f"größe {i} of many", label) for label in ("01", "1.0") for i in range(8)]
PAIRS = [(f"{text} {label}", label) for text, label in PAIRS]


def lines(mark: str = ",", end: str = "\n", header: str = "text,label") -> str:
    rows = [header.replace(",", mark), *(f"{text}{mark}{label}" for text, label in PAIRS)]
    return end.join([*rows, ""])


def read(path: Path, content: bytes, **options: str) -> UserData:
    path.write_bytes(content)
    return read_texts(path, "text", "label", **options)


def assert_whole(user_data: UserData) -> None:
    assert (
        list(zip(user_data.examples, user_data.labels, strict=True)) == PAIRS
        and not user_data.skipped
    )


@pytest.mark.case("26")
def test_a_plain_csv_file_is_read(tmp_path) -> None:
    assert_whole(read(tmp_path / "own.csv", lines().encode()))


@pytest.mark.case("26")
@pytest.mark.parametrize("mark", [";", "\t", "|", "; ", ", "])
def test_the_separator_is_the_one_that_splits_the_header(mark, tmp_path) -> None:
    assert_whole(read(tmp_path / "own.txt", lines(mark).encode()))


@pytest.mark.case("26")
def test_commas_within_texts_do_not_hide_a_semicolon_and_quotes_protect_it(tmp_path) -> None:
    text = "text;label\n" + "".join(f'"a, b; {i}, c";{"xy"[i % 2]}\n' for i in range(8))
    user_data = read(tmp_path / "own.csv", text.encode())
    assert user_data.counts == {"x": 4, "y": 4} and user_data.examples[0] == "a, b; 0, c"


@pytest.mark.case("26")
def test_another_separator_can_be_named_and_excel_s_own_line_names_it(tmp_path) -> None:
    path = tmp_path / "own.csv"
    with pytest.raises(InputError, match=r"Columns: text~label\. .*--separator"):
        read(path, lines("~").encode())
    assert_whole(read(path, lines("~").encode(), separator="~"))
    assert_whole(read(path, lines("\t").encode(), separator="tab"))
    assert_whole(read(path, b"sep=~\r\n" + lines("~", "\r\n").encode()))
    with pytest.raises(InputError, match="--separator ab: must be one character"):
        read(path, lines().encode(), separator="ab")


@pytest.mark.case("26")
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_with_a_mark_and_all_line_ends_are_read(encoding, end, tmp_path) -> None:
    assert_whole(read(tmp_path / "own.csv", lines(end=end).encode(encoding)))


@pytest.mark.case("26")
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_encodings_without_a_mark_are_named_with_the_fix_and_read_if_named(
    encoding, tmp_path
) -> None:
    content = lines().encode(encoding)
    with pytest.raises(InputError, match=rf"'CSV UTF-8', or .*--encoding {encoding}"):
        read(tmp_path / "own.csv", content)
    assert_whole(read(tmp_path / "own.csv", content, encoding=encoding))
    with pytest.raises(InputError, match="--encoding klingon: unknown"):
        read(tmp_path / "own.csv", content, encoding="klingon")


@pytest.mark.case("26")
def test_json_parquet_and_packed_files_are_read_in_their_written_form(tmp_path) -> None:
    objects = [json.dumps({"label": label, "text": text, "n": 1}) for text, label in PAIRS]
    assert_whole(read(tmp_path / "own.csv.gz", gzip.compress(lines().encode())))
    assert_whole(read(tmp_path / "own.jsonl", "\n".join(objects).encode()))
    assert_whole(read(tmp_path / "own.json", f"[{','.join(objects)}]".encode()))
    pd.DataFrame(PAIRS, columns=["text", "label"]).to_parquet(tmp_path / "own.parquet")
    assert_whole(read_texts(tmp_path / "own.parquet", "text", "label"))


@pytest.mark.case("26")
def test_json_rows_that_cannot_be_used_are_left_out_each_with_its_reason(tmp_path) -> None:
    good = [json.dumps({"text": f"{i} of {x}", "label": x}) for x in (1.50, True) for i in range(4)]
    bad = ['{"text": ["a"], "label": 1}', '{"text": "half', "7", '{"text": "a", "label": null}']
    bad += ['{"text": "half \\ud83d", "label": 1.5}', "[" * 100_000]
    user_data = read(tmp_path / "own.jsonl", "\n".join([*good, *bad]).encode())
    assert user_data.counts == {"1.5": 4, "True": 4}
    assert user_data.skipped == [
        ("row 9", "its 'text' is neither text nor a number"),
        ("row 10 (line 10)", "not valid JSON"),
        ("row 11", "no JSON object"),
        ("row 12", "no label"),
        ("row 13", "half a surrogate pair, which is no character"),
        ("row 14 (line 14)", "not valid JSON"),
    ]


@pytest.mark.case("26")
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Text,label", r"no column 'text' \(--text-column\).*Did you mean --text-column 'Text'\?"),
        ("text,lable", r"no column 'label' .*Columns: text, lable\. Did you mean --label-column"),
        ("text,text", r"2 columns 'text' \(--text-column\): rename"),
        ("where is it,money", r"The first row is taken as the header: if it is none, add one"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest(header, message, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "own.csv", lines(header=header).encode())


@pytest.mark.case("26")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04...", "own: is an Excel or OpenDocument workbook.* 'CSV UTF-8'"),
        (b"PAR1...", "own: not a Parquet file"),
        (b"\x1f\x8b...", "own: cannot be read"),
        (b"", "own: not a CSV file in UTF-8: its 0 bytes hold no row"),
        (b" \n\n", "own: not a CSV file in UTF-8: its 3 bytes hold no row"),
        (b'"text\nlabel', "own: has no column 'text'"),
        (b"text,label\n", r"own: 0 usable class\(es\) of 0"),
    ],
)
def test_a_file_that_is_no_table_is_named_with_the_fix(content, message, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "own", content)


def test_a_folder_and_a_broken_array_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_texts(tmp_path, "text", "label")
    with pytest.raises(InputError, match="not valid JSON"):
        read(tmp_path / "own.json", b'[{"text": 1},')
