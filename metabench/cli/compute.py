"""Work by hand, beside `dvc repro`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from metabench import shown
from metabench.cli.base import PARAMS, Changes, command, config_in_use, console, say, table_of
from metabench.cli.completing import methods_in_use, sources_in_use


@command("Compute")
def run(
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="a method of params.yaml; can be given several times",
            autocompletion=methods_in_use,
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="a source of params.yaml; can be given several times",
            autocompletion=sources_in_use,
        ),
    ] = None,
    changes: Changes = None,
) -> None:
    """Compute some methods or sources of params.yaml; `dvc repro` reuses the results."""
    from metabench.pipeline.layout import Layout
    from metabench.pipeline.part import part_of
    from metabench.pipeline.results import LEVEL, collect
    from metabench.pipeline.validation import validate_names
    from metabench.reports.levels import at_main
    from metabench.reports.summary import scores_of
    from stages import download, embed, episodes, evaluate, pretrain, train

    config, layout = config_in_use(changes or ()), Layout()
    part = part_of(config, method or (), source or ())
    validate_names(config, Path())
    for stage in (download, episodes, embed, pretrain, train, evaluate):
        stage.main(config, layout, part)
    table = table_of("source → target", "setting", "method", "score", "seeds")
    results, costs = collect(config, layout, part)
    for row in scores_of(at_main(results), at_main(costs)):
        table.add_row(*map(shown.visible, row))
    console.print(table)
    say("Score: accuracy in per cent (or error) ± half of its 95 % interval.", style="dim")
    if len(costs[LEVEL].drop_duplicates()) > costs["source"].nunique():
        say("Of several budgets, the main one is shown; reports have all of them.", style="dim")
    if changes:
        say(f"{PARAMS} is as it was: `dvc repro` computes these cells as it says.", style="dim")


@command("Compute")
def tune(
    source: Annotated[
        str, typer.Argument(help="a source of params.yaml", autocompletion=sources_in_use)
    ],
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            help="default: all methods of the source",
            autocompletion=methods_in_use,
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=3, max=10_000, help="trials of each method, earlier ones included")
    ] = 32,
    episodes: Annotated[
        int, typer.Option(min=6, max=100_000, help="val episodes of a score, in each setting")
    ] = 300,
    adaptations: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="settings of adaptation that are tried by shots"),
    ] = 16,
    apply: Annotated[
        bool, typer.Option("--apply", help="write the best settings into params.yaml")
    ] = False,
) -> None:
    """Search for good hyper-parameters on the validation episodes of a source."""
    config = config_in_use()
    from metabench.pipeline import applying, studies, tuning
    from metabench.pipeline.layout import Layout
    from metabench.pipeline.search_space import NothingToTune
    from metabench.pipeline.validation import validate_names

    validate_names(config, Path())
    chosen = tuning.methods_to_tune(config, source, methods or [])
    tuning.require_episodes(Layout(), source)
    terms, searches = tuning.Terms(trials, episodes, adaptations), list[tuning.Search]()
    for method in chosen:
        try:
            searches.append(tuning.Search(config, Path(), source, method, terms))
        except NothingToTune as error:
            if methods:
                raise
            say(f"{error}", style="dim")
    for one, study in zip(searches, tuning.search(searches, config.compute), strict=True):
        winner, tried = study.winner, len(study.of(studies.FIRST))
        scores = ", ".join(f"{form} {_score(value)}" for form, value in study.means.items())
        say(
            f"{one.method}: of {tried} trials, number {winner.number} (from 0) is best on val with "
            f"fresh seeds: {scores}. Its {len(study.searched)} settings: {dict(winner.settings)}, "
            f"by shots {study.by_shots}. "
            f"Study {study.name}, {studies.path_of(Path(), config.profile, source, one.method)}"
        )
        if study.noise > studies.ENOUGH:
            needed = math.ceil(episodes * (study.noise / studies.ENOUGH) ** 2)
            say(
                f"{one.method}: the draw of episodes moves its scores by {100 * study.noise:.2f} "
                f"points (sd); --episodes {needed} would make that {100 * studies.ENOUGH:g}.",
                style="dim",
            )
        if apply:
            applying.apply(PARAMS, study, source, one.method)


def _score(value: float) -> str:
    """Accuracy in per cent; a score of regression is minus a squared error."""
    return f"{100 * value:.1f} %" if value >= 0 else f"MSE {-value:.3g}"


@command("Compute")
def repair() -> None:
    """Repair the files that DVC leaves behind when it is killed while it writes them."""
    from metabench.pipeline.repair import repair as mend

    for sentence in mend(Path()) or ["nothing to repair"]:
        say(sentence)
