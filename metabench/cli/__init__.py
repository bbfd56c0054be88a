"""The command line: ``metabench`` or ``python -m metabench``; a file for each group of commands.

The order of the imports is the order of use, and that in which ``metabench --help`` lists them.
Each command imports what it calls, so that help and completion are there at once.
"""

from metabench.cli import project, catalogue, compute, results, ui, practice  # noqa: F401, I001
from metabench.cli.base import app

__all__ = ["app"]
