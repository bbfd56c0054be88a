"""Work by hand, beside `dvc repro`."""

from __future__ import annotations

from pathlib import Path

from metabench.cli.base import command, say


@command("Compute")
def repair() -> None:
    """Mend what DVC leaves when it is killed in its own writes; `make bench` does so first."""
    from metabench.pipeline.repair import repair as mend

    for sentence in mend(Path()) or ["nothing to repair"]:
        say(sentence)
