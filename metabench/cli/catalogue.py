"""What there is to choose from."""

from __future__ import annotations

from metabench.cli.base import command, console, table_of


@command("Start")
def _list() -> None:
    """Every method: name, family, paper, flags."""
    from metabench.methods import METHODS

    table = table_of("method", "family", "paper", "source training", "start", "data", "flags")
    for name in METHODS.names():
        cls = METHODS.load(name)
        flags = [*(["transductive"] if cls.transductive else [])]
        flags += [] if cls.variable_ways else ["fixed ways"]
        kinds = ", ".join(sorted(cls.kinds))
        table.add_row(
            name, cls.family, cls.paper, cls.source_training, cls.start, kinds, ", ".join(flags)
        )
    console.print(table)
