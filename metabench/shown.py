"""A user's text where it is shown: nothing in it acts, and no secret of it is repeated.

Names of files, classes and variants hold what their authors like: markup, control characters, marks
that turn the writing direction. :func:`visible` is for terminals, :func:`markdown` for reports.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from urllib.parse import parse_qsl, unquote

from rich.console import Console

JOINERS = "\u200c\u200d"
"""Of category Cf, but part of how some scripts are written."""
LONGEST = 200
"""Characters of a name in a report; of a longer one the middle is left out."""

_SPECIAL = re.compile(
    r"[\\`*\[\]<>|~$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # within a word it is no mark
    r"|&(?=[#\w])"
    r"|(?<=[Ww]{3})\.|:(?=//)"  # or it would become a link
    r"|^[-+=#]|(?<=^\d)[.)]|(?<=^\d\d)[.)]|(?<=^\d\d\d)[.)]"
)


def visible(text: str, kept: str = "") -> str:
    r"""``text`` with control characters, marks of direction and surrogates as ``\x1b``, ``\u202e``.

    Args:
        kept: characters to leave as they are, such as a line end.
    """
    return "".join(c if c in kept or not _acts(c) else _code(ord(c)) for c in text)


def _acts(character: str) -> bool:
    acting = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return acting and character not in JOINERS


def _code(point: int) -> str:
    return f"\\x{point:02x}" if point < 2**8 else f"\\u{point:04x}"


def markdown(text: object, longest: int = LONGEST) -> str:
    """``text`` for a line or a table cell of Markdown: it renders as itself.

    Args:
        longest: characters from which on the middle is left out.
    """
    shown = visible(str(text))
    if len(shown) > longest:
        shown = f"{shown[: longest // 2]}…{shown[-longest // 2 :]}"
    escaped = _SPECIAL.sub(lambda found: f"\\{found[0]}", shown)
    return re.sub(r"^ | $", "&#32;", escaped)


def message(error: object) -> str:
    """The text of an error for a terminal or a log."""
    return masked(visible(f"error: {error}", kept="\n"))


def console(stderr: bool = False) -> Console:
    """A console that interprets nothing in a text: no markup, no emoji, no highlighting.

    Where nobody looks, in a pipe or a file, lines are as long as what they say. What the encoding
    of the terminal lacks is written as an escape.
    """
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(getattr(stream, "errors", None), str) and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = 10_000
    return made


# --- secrets --------------------------------------------------------------------------------------

HIDDEN = "***"
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<rest>[^\s'\"<>]+)")
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SECRET = re.compile("pass|pwd|token|secret|key|sig", re.IGNORECASE)
_LOCAL = ("sqlite", "file")


def masked(text: str, *addresses: str) -> str:
    """``text`` without passwords: in any address in it, and those of ``addresses`` anywhere in it.

    User and password become ``***``, and so does a query, which may hold a token.
    """
    hidden = _ADDRESS.sub(_hide, text)
    for secret in sorted(_secrets(addresses), key=len, reverse=True):
        hidden = hidden.replace(secret, HIDDEN)
    return hidden


def _hide(found: re.Match[str]) -> str:
    scheme, rest = found["scheme"], found["rest"]
    if scheme.split("+")[0] in _LOCAL:
        return found[0]
    where, query, _ = rest.partition("?")
    host, slash, path = where.partition("/")
    user, at, host_only = host.rpartition("@")
    if not at and "@" in path and not re.fullmatch(r"[^:]*(:\d+)?", host):  # a "/" in the password
        user, at, host_only = where.rpartition("@")
        slash = path = ""
    shown = f"{HIDDEN}@{host_only}" if user else host
    return f"{scheme}://{shown}{slash}{path}" + (f"?{HIDDEN}" if query else "")


def _secrets(addresses: tuple[str, ...]) -> set[str]:
    """What must not be repeated, of these addresses and of MLflow's variables."""
    found = {os.environ.get(name, "") for name in _SECRETS}
    for address in addresses:
        scheme, _, rest = address.partition("://")
        if scheme.split("+")[0] not in _LOCAL:
            user, _, host = rest.rpartition("@")
            name, _, password = user.partition(":")
            found.add(password or name)
            found |= {v for k, v in parse_qsl(host.partition("?")[2]) if _SECRET.search(k)}
    return {form for secret in found for form in (secret, unquote(secret)) if len(form) > 3}
