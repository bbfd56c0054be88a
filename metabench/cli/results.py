"""Where the results are, written again, and two methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metabench import shown
from metabench.cli.base import command, config_in_use, console, say, table_of
from metabench.cli.completing import methods_in_use, sources_in_use, targets_in_use


@command("Results")
def where() -> None:
    """Say where the reports are and how to look at the runs."""
    folder = Path(config_in_use().reports)
    board = folder / "leaderboard.md"
    say(f"leaderboard: {board}{'' if board.exists() else ' (not made yet: run `dvc repro`)'}")
    for extra in ("index.html", "decision_guide.md"):
        if (folder / extra).exists():
            say(f"             {folder / extra}")
    say("runs in the MLflow UI: metabench ui")


@command("Results")
def compare(
    first: Annotated[
        str, typer.Argument(help="a method of params.yaml", autocompletion=methods_in_use)
    ],
    second: Annotated[str, typer.Argument(help="another method", autocompletion=methods_in_use)],
    source: Annotated[
        str, typer.Option(help="only this source", autocompletion=sources_in_use)
    ] = "",
    target: Annotated[
        str, typer.Option(help="only this target", autocompletion=targets_in_use)
    ] = "",
    shots: Annotated[int, typer.Option(help="only this number of shots; 0 means all")] = 0,
) -> None:
    """Compare two methods on identical episodes, for each target and number of shots.

    Of several budgets, at the main one.
    """
    from metabench.pipeline.layout import Layout
    from metabench.pipeline.part import part_of
    from metabench.pipeline.results import collect
    from metabench.reports.compare import comparisons
    from metabench.reports.levels import at_main, level_label, levels_in

    config = config_in_use()
    results, costs = collect(config, Layout(), part_of(config, methods=(first, second)))
    table = table_of("source → target", "setting", first, second, "difference", "verdict")
    wanted = {"source": source, "target": target, "shots": shots}
    asked = {k: v for k, v in wanted.items() if v}
    for row in comparisons(at_main(results), at_main(costs), first, second, asked):
        table.add_row(*map(shown.visible, row))
    console.print(table)
    several = [own[0] for own in levels_in(costs).values() if len(own) > 1]
    for main in dict.fromkeys(several):
        say(f"Budget: {level_label(main.examples, main.classes)}, the main one.", style="dim")
    say(
        "Difference: first − second, with its 95 % interval over seeds and episodes; the intervals "
        "of all rows hold simultaneously. Tied: with confidence, the difference is within ± 1 "
        "point (for errors: 5 %).",
        style="dim",
    )


@command("Results")
def report(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="a folder of reports, to make again from the scores that are stored in it"
        ),
    ] = None,
    readme: Annotated[bool, typer.Option(help="also renew the excerpt in both READMEs")] = False,
) -> None:
    """Make the reports again from the results on disk, and reproduction.md from all profiles.

    With a FOLDER, only the reports in it are made, from the scores that are stored with them.
    """
    from metabench.pipeline.layout import Layout
    from metabench.reports.excerpt import LEGENDS, update_readme
    from metabench.reports.reproduction import write_reproduction
    from metabench.reports.writing import report as write
    from metabench.reports.writing import report_again

    if folder is not None:
        report_again(folder)
        say(f"written: {folder}")
    else:
        config = config_in_use()
        write(config, Layout())
        say(f"written: {config.reports}")
        say(f"written: {write_reproduction(Path('reports'))}")
    if readme:
        for name in LEGENDS:
            update_readme(Path(name), Path("reports/leaderboard.csv"))
            say(f"written: {name}")
