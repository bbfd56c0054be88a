"""A user's texts: each row is kept, or left out with its number and the true reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metabench.data.own import UserData, read_texts
from metabench.files import InputError

LATE = [f"the parcel number {i} has not arrived" for i in range(8)]
REFUND = [f"please give my money back for order {i}" for i in range(8)]
ROWS = [*(f"{text},late" for text in LATE), *(f"{text},refund" for text in REFUND)]
HEAD = "Dear customer service, I am writing to you about the order that I have placed. " * 6
"""Some 100 word pieces."""


def write(path: Path, rows: Sequence[str], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def read(folder: Path, rows: Sequence[str], **options: Any) -> UserData:
    return read_texts(write(folder / "own.csv", rows), "text", "label", **options)


@pytest.mark.case("05")
def test_rows_that_nothing_is_wrong_with_are_all_read(tmp_path) -> None:
    user_data = read(
        tmp_path, [*ROWS, '"he said ""no"", twice,\n\nand left",late', '"late, ok",late']
    )
    assert (
        user_data.counts == {"late": 10, "refund": 8}
        and not user_data.skipped
        and not user_data.notes
    )
    assert 'he said "no", twice,\n\nand left' in user_data.examples


@pytest.mark.case("05")
def test_a_stray_quote_costs_its_own_row_and_no_other(tmp_path) -> None:
    user_data = read(
        tmp_path, ['"he said "no" again",refund', *ROWS[:8], '"8 inch,late', *ROWS[8:]]
    )
    assert user_data.counts == {"late": 8, "refund": 8}
    assert user_data.skipped == [
        ("row 1 (line 2)", "a quote within quotes that is not doubled"),
        ("row 10 (line 11)", "a quote opens that nothing closes"),
    ]


@pytest.mark.case("05")
def test_rows_between_two_stray_quotes_are_not_merged_into_one_text(tmp_path) -> None:
    user_data = read(tmp_path, ['"8 inch is broken,late', *ROWS, 'I ordered 8",late'])
    assert user_data.counts == {"late": 9, "refund": 8} and 'I ordered 8"' in user_data.examples
    assert user_data.skipped == [
        ("row 1 (line 2)", "its quote closes on line 19 only, after other rows")
    ]


@pytest.mark.case("05")
def test_rows_that_a_stray_quote_takes_with_a_bad_row_are_still_read(tmp_path) -> None:
    user_data = read(tmp_path, [*ROWS[:5], '"', *ROWS[5:9], "", "bad", 'bad",,', *ROWS[9:]])
    assert user_data.counts == {"late": 8, "refund": 8}
    assert user_data.skipped == [
        ("row 6 (line 7)", "its quote closes on line 14 only, after other rows"),
        ("row 11 (line 13)", "1 field, the header has 2"),
        ("row 12 (line 14)", "3 fields, the header has 2"),
    ]


@pytest.mark.case("05")
def test_long_fields_and_odd_characters_are_text_like_any_other(tmp_path) -> None:
    odd = ["word " * 30_000, "nul \0 here", "‮مرحبا card 🙂", "a [PAD] b", "a [SEP] b", "nan"]
    user_data = read(tmp_path, [*ROWS, *(f"{text},late" for text in odd)])
    assert user_data.counts == {"late": 14, "refund": 8} and not user_data.skipped
    assert {text.strip() for text in odd} <= set(user_data.examples)


@pytest.mark.case("05")
def test_rows_in_are_rows_kept_and_rows_left_out(tmp_path) -> None:
    bad = ["a field", "a,b,c", ",late", "no label,", "\u200b,late", "alone,other", "", "two,other"]
    user_data = read(tmp_path, [*ROWS, *bad])
    assert len(user_data.examples) == 16 and user_data.left_out == 7, "a blank line is no row"
    assert user_data.skipped == [
        ("row 17 (line 18)", "1 field, the header has 2"),
        ("row 18 (line 19)", "3 fields, the header has 2"),
        ("row 19", "no text"),
        ("row 20", "no label"),
        ("row 21", "no text"),
        ("label 'other'", "class of 2 usable texts, at least 4 are needed"),
    ]


@pytest.mark.case("06")
def test_short_texts_are_read_whole_and_nothing_is_said_about_it(tmp_path) -> None:
    user_data = read(tmp_path, ROWS)
    assert len(user_data.examples) == 16 and not user_data.notes and not user_data.skipped


@pytest.mark.case("06")
def test_texts_that_differ_after_64_word_pieces_are_different(tmp_path) -> None:
    user_data = read(tmp_path, [f'"{HEAD}{text}",late' for text in LATE] + ROWS[8:])
    assert (
        user_data.counts == {"late": 8, "refund": 8}
        and not user_data.skipped
        and not user_data.notes
    )


@pytest.mark.case("06")
def test_what_the_limit_cuts_is_counted_and_makes_no_texts_the_same(tmp_path) -> None:
    rows = [*ROWS, *(f'"{HEAD} {i}",late' for i in range(2)), f'"{HEAD} 0",late']
    user_data = read(tmp_path, rows, pieces=64)
    assert user_data.skipped == [
        ("row 18", "the same first 64 word pieces as row 17"),
        ("row 19", "the same text as row 17"),
    ]
    assert user_data.notes == [
        "3 of 19 texts have more than 64 word pieces, the end of these is not read (--max-pieces: "
        "up to 512)"
    ]
    user_data = read(tmp_path, [*rows, f'"{HEAD} 7",refund'], pieces=64)
    reason = "the same first 64 word pieces as row 20, but labelled 'late', not 'refund'"
    assert ("row 17", reason) in user_data.skipped


@pytest.mark.case("06")
def test_words_that_the_vocabulary_does_not_know_make_no_texts_the_same(tmp_path) -> None:
    odd = ["สวัสดีครับ,late", "ሰላም ልዑል,refund", "my card 🙂,late", "my card 😡,late"]
    user_data = read(tmp_path, [*ROWS, *odd])
    none = "the English vocabulary knows none of its words"
    unknown = "apart from words that the English vocabulary does not know"
    assert user_data.skipped == [
        ("row 17", none),
        ("row 18", none),
        ("row 20", f"the same word pieces ({unknown}) as row 19"),
    ]
    assert user_data.notes == ["4 of 20 texts hold words that the English vocabulary does not know"]


@pytest.mark.case("20")
def test_a_text_that_stands_twice_under_one_label_is_kept_once(tmp_path) -> None:
    user_data = read(tmp_path, [*ROWS, ROWS[2], "The  parcel number 2 has not arrived,late"])
    assert user_data.skipped == [(f"row {i}", "the same text as row 3") for i in (17, 18)]
    assert len(user_data.examples) == 16


@pytest.mark.case("20")
def test_a_text_under_two_labels_is_a_contradiction_and_none_of_it_is_kept(tmp_path) -> None:
    user_data = read(tmp_path, [*ROWS, f"{LATE[1]},refund", ROWS[1]])
    assert user_data.counts == {"late": 7, "refund": 8}
    assert user_data.skipped == [
        ("row 2", "the same text as row 17, but labelled 'late', not 'refund'"),
        ("row 17", "the same text as row 2, but labelled 'refund', not 'late'"),
        ("row 18", "the same text as row 17, but labelled 'late', not 'refund'"),
    ]


@pytest.mark.case("20")
def test_labels_keep_their_written_form_and_those_that_look_alike_are_named(tmp_path) -> None:
    labels = ["01", "1", "NA", "nan", "Late", "late", "late ", "caf\xe9", "cafe\u0301", "null"]
    rows = [f"number {i} of many,{label}" for i, label in enumerate(labels * 4)]
    user_data = read(tmp_path, rows)
    assert user_data.counts == {label.strip(): 4 for label in labels} | {"late": 8}
    assert user_data.notes == [
        "labels that differ only in outer space are read as one: 'late' (4), 'late ' (4)",
        "labels that differ only in case, spaces or Unicode form are kept apart: 'Late' (4), "
        "'late' (8); 'caf\xe9' (4), 'cafe\u0301' (4)",
    ]


def test_a_column_cannot_be_text_and_label_at_once(tmp_path) -> None:
    path = write(tmp_path / "own.csv", ROWS)
    with pytest.raises(InputError, match="--text-column and --label-column are both 'text'"):
        read_texts(path, "text", "text")
