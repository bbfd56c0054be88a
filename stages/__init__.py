"""Thin scripts, one per DVC stage: each lists its cells as jobs. `dvc.yaml` runs them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

RESUME = "Nothing is lost: finished cells are kept, `dvc repro` goes on from here."
INTERRUPTED = f"interrupted. {RESUME}"


def _end_at_once(*_: Any) -> NoReturn:
    """Answer Ctrl-C before the work has begun: there is nothing to undo yet.

    Raising is no way out here: among the imports of C extensions an exception may get lost or come
    out as another one.
    """
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(130)


# argv[0] is "-m" while `python -m stages.NAME` imports, which takes seconds; nohup ignores SIGINT
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end_at_once)

from metabench.config import Config, load  # noqa: E402
from metabench.files import InputError, refusal  # noqa: E402
from metabench.pipeline.layout import Layout  # noqa: E402
from metabench.shown import message  # noqa: E402


def run(
    main: Callable[[Config, Layout], None], description: str, load: Callable[[], Config] = load
) -> None:
    """Call ``main(config, layout)``; an expected failure ends in one message and non-zero exit."""
    argparse.ArgumentParser(description=description).parse_args()
    try:
        interruptible()
        main(load(), Layout())
    except InputError as error:
        sys.exit(f"{message(error)}\n{RESUME}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        reason = refusal(error)
        if reason is None:
            raise
        sys.exit(f"{message(reason)}\n{RESUME}")


def interruptible() -> None:
    """From here on Ctrl-C raises ``KeyboardInterrupt``, so that what was begun is cleaned up."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
