"""A user's text in a terminal, in Markdown and in messages with addresses."""

from __future__ import annotations

import io
import sys

import pytest
from markdown_it import MarkdownIt

from metabench.shown import LONGEST, console, markdown, masked, visible

PLAIN = [
    "protonet",
    "fine_tune",
    "maml_plus_plus",
    "tests.toy:TOY",
    "Vögel (2024).png",
    "天気",
    "7",
]
NASTY = [
    "`x` <img src=x onerror=alert(1)>.png",
    "a`b",
    "``",
    "a|b",
    "**bold**",
    "_x_",
    "a_b_",
    "[link](http://x)",
    "![image](x)",
    "<b>",
    "&lt;b&gt; &#60;",
    "~~gone~~",
    "# head",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "> quote",
    "=== rule",
    "--- rule",
    "    code",
    " edge ",
    "back\\slash",
    "$x$",
    "http://example.org",
    "www.example.org",
    "\\",
    "a\nb\n\n# c",
    "a\r\tb",
    "\u202egnp.exe",
    "\x1b[31mred",
    "a\u2028b",
    "\udce9",
]


def rendered(text: str) -> tuple[str, set[str]]:
    """What a reader sees of a Markdown text, and the kinds of elements in it."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    inner = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in [*tokens, *inner] if token.type not in ("inline", "text")}
    return "".join(child.content for child in inner), {k.removesuffix("_open") for k in kinds}


@pytest.mark.case("46")
@pytest.mark.parametrize("name", PLAIN)
def test_a_harmless_name_stands_in_markdown_as_it_is(name) -> None:
    assert markdown(name) == name == visible(name)


@pytest.mark.case("46")
@pytest.mark.parametrize("name", NASTY)
def test_a_name_renders_as_itself_and_as_nothing_else(name) -> None:
    text, kinds = rendered(f"- {markdown(name)}: reason")
    allowed = {"bullet_list", "list_item", "paragraph", "text_special"}
    assert text == f"{visible(name)}: reason"
    assert {k.removesuffix("_close") for k in kinds} <= allowed
    text, kinds = rendered(f"| a | b |\n| --- | --- |\n| {markdown(name)} | end |")
    assert text == f"ab{visible(name)}end"
    assert {k.removesuffix("_close") for k in kinds} <= {
        "table", "thead", "tbody", "tr", "th", "td", "text_special"
    }  # fmt: skip


def test_what_acts_is_written_as_its_code_and_scripts_keep_their_joiners() -> None:
    assert visible("a\x1b[31m\u202e\n") == r"a\x1b[31m\u202e\x0a"
    assert visible("a\nb", kept="\n") == "a\nb"
    assert visible("می\u200cخواهم") == "می\u200cخواهم"
    assert visible("\U000e0041") == r"\ue0041"


def test_of_a_very_long_name_the_ends_are_shown() -> None:
    name = "begin" + "x" * 5000 + "end.png"
    assert len(markdown(name)) <= LONGEST + 1
    assert markdown(name).startswith("begin") and markdown(name).endswith("end.png")


@pytest.mark.case("30")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at http://host:5000/x failed", "at http://host:5000/x failed"),
        ("sqlite:////home/a@b.org/mlflow.db", "sqlite:////home/a@b.org/mlflow.db"),
        ("https://host/path@2", "https://host/path@2"),
        ("http://u:secret@host:5/x", "http://***@host:5/x"),
        ("(http://secret@host)", "(http://***@host)"),
        ("postgresql+psycopg2://u:s%40e@host/db", "postgresql+psycopg2://***@host/db"),
        ("http://u:se/cret@host/x", "http://***@host/x"),
        ("'https://host/x?token=secret&a=b' and more", "'https://host/x?***' and more"),
    ],
)
def test_an_address_is_shown_without_what_opens_it(text, said) -> None:
    assert masked(text) == said


@pytest.mark.case("30")
def test_a_known_secret_is_hidden_wherever_it_is_repeated(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    uri = "postgresql://u:s%40cret@host/db?sslmode=require&password=0ther"
    text = masked("login with s%40cret, s@cret, 0ther, t0ken; sslmode must be require", uri)
    assert text == "login with ***, ***, ***, ***; sslmode must be require"


def test_a_console_that_cannot_write_a_character_writes_its_escape(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    made = console()
    made.print("[red] a → b \udce9 :smile:" + "x" * 300)
    sys.stdout.flush()
    assert raw.getvalue().decode().split("x")[0] == "[red] a \\u2192 b \\udce9 :smile:"
    assert raw.getvalue().count(b"\n") == 1  # nobody looks, so nothing is folded
