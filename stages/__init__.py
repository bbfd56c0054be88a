"""Thin scripts, one per DVC stage; all logic is in the package, callable from Python."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable

from metabench.cells import Layout
from metabench.config import Config, load
from metabench.executor import CellFailed
from metabench.files import InputError

RESUME = "Nothing is lost: finished cells are kept, `dvc repro` goes on from here."


def run(main: Callable[..., None], description: str, *names: str) -> None:
    """Parse ``names`` as positional arguments, call ``main(config, layout, *values)``.

    Every expected failure ends in one clear message and a non-zero exit.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        parser.add_argument(name)
    values = vars(parser.parse_args())
    try:
        config: Config = load()
        main(config, Layout(), *values.values())
    except (InputError, CellFailed) as error:
        sys.exit(f"error: {error}\n{RESUME}")
    except KeyboardInterrupt:
        sys.exit(f"interrupted. {RESUME}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error}). Free some space. {RESUME}")
