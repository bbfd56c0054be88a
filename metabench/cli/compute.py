"""Work by hand, beside `dvc repro`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from metabench import shown
from metabench.cli.base import PARAMS, Changes, command, config_in_use, console, say, table_of
from metabench.cli.completing import methods_in_use, sources_in_use
from metabench.files import InputError


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
    from metabench.pipeline.results import collect
    from metabench.pipeline.validation import validate_names
    from metabench.reports.summary import scores_of
    from stages import download, embed, episodes, evaluate, pretrain, train

    config, layout = config_in_use(changes or ()), Layout()
    part = part_of(config, method or (), source or ())
    validate_names(config, Path())
    for stage in (download, episodes, embed, pretrain, train, evaluate):
        stage.main(config, layout, part)
    table = table_of("source → target", "setting", "method", "score", "seeds")
    for row in scores_of(*collect(config, layout, part)):
        table.add_row(*map(shown.visible, row))
    console.print(table)
    say("Score: accuracy in per cent (or error) ± half of its 95 % interval.", style="dim")
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
            help="default: all methods of the source; `backbone` stands for the pretraining that "
            "they share",
            autocompletion=methods_in_use,
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=10_000, help="trials of each method, including earlier ones")
    ] = 20,
    seconds: Annotated[float, typer.Option(help="time limit for each method")] = 3600,
    apply: Annotated[
        bool, typer.Option("--apply", help="write the best settings into params.yaml")
    ] = False,
) -> None:
    """Search for good hyper-parameters on the validation episodes of a source."""
    if not 0 < seconds < math.inf:
        raise InputError(f"--seconds {seconds}: must be a number above 0")
    config = config_in_use()
    import optuna
    from rich.progress import track

    from metabench.pipeline import tuning
    from metabench.pipeline.layout import Layout
    from metabench.pipeline.validation import validate_names
    from metabench.runtime import configure

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    validate_names(config, Path())
    chosen = tuning.methods_to_tune(config, source, methods or [])
    tuning.require_episodes(Layout(), source)
    configure(config.compute.threads)
    errors, failed = shown.console(stderr=True), list[str]()
    for method in track(chosen, "tuning", console=errors, disable=not errors.is_terminal):
        try:
            study = tuning.tune(config, Path(), source, method, trials, seconds)
        except InputError as error:
            errors.print(shown.message(error), soft_wrap=True)
            if methods or not isinstance(error, tuning.NothingToTune):
                failed.append(method)
            continue
        done = len(tuning.finished(study))
        say(
            f"{method}: {study.best_value:.4f} {study.best_params} ({done} trials, study "
            f"{study.study_name})"
        )
        if apply:
            tuning.apply(PARAMS, study, source, method)
    if failed:
        raise InputError(f"not tuned, for the reasons above: {', '.join(failed)}")


@command("Compute")
def repair() -> None:
    """Repair the files that DVC leaves behind when it is killed while it writes them."""
    from metabench.pipeline.repair import repair as mend

    for sentence in mend(Path()) or ["nothing to repair"]:
        say(sentence)
