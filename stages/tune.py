"""Tune methods on the validation episodes of one source: equal trials and wall budget for each.

Not part of the graph: tuning is done once, its result is written into params.yaml. Needs the
source's data, episodes and backbone (`dvc repro pretrain`). Interrupt it at will: the study
goes on where it stopped.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from pydantic import TypeAdapter, ValidationError
from rich.progress import track

from metabench import shown
from metabench.config import TASK_TYPES, Config, read
from metabench.config.bounds import Count, Positive
from metabench.config.messages import glance, nearest
from metabench.config.names import BACKBONE
from metabench.files import InputError, refusal
from metabench.methods import METHODS
from metabench.pipeline.layout import Layout
from metabench.pipeline.tuning import NothingToTune, apply, finished, tune
from metabench.pipeline.validation import validate_names
from metabench.runtime import configure
from stages import interruptible


def number(kind: Any) -> Callable[[str], Any]:
    """What an option's text is as a number of ``kind``, one of :mod:`metabench.config.bounds`."""

    def parse(text: str) -> Any:
        try:
            return TypeAdapter(kind).validate_strings(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(error.errors()[0]["msg"]) from error

    return parse


def chosen(config: Config, source: str, names: list[str]) -> list[str]:
    """The methods to tune: ``names``, or all of the source's task_type.

    Raises:
        InputError: nothing learns from ``source``, or a name is none of a method.
    """
    sources = [name for label in TASK_TYPES for name in getattr(config, label).sources]
    if source not in sources:
        raise InputError(
            f"params.yaml: no task type has source {glance(source)}. {nearest(source, sources)}"
        )
    known = [BACKBONE, *config.task_type_of(source).methods, *METHODS.names()]
    for name in names:
        if name not in known:
            raise InputError(f"unknown method {glance(name)}. {nearest(name, known)}")
    return names or list(config.task_type_of(source).methods)


def require_episodes(layout: Layout, source: str) -> None:
    """What every trial needs is there.

    Raises:
        InputError: it is not.
    """
    for path in (layout.processed(source) / "classes.json", layout.episodes(source, "val")):
        if not path.exists():
            raise InputError(f"{path}: missing. Run `dvc repro pretrain` first.")


def main() -> None:
    """Tune the named methods, print the best settings, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument(
        "methods",
        nargs="*",
        help="default: all methods of the source's task_type; `backbone`: the pretraining",
    )
    parser.add_argument("--trials", type=number(Count), default=20, help="trials of each method")
    parser.add_argument(
        "--seconds", type=number(Positive), default=3600, help="wall budget of each method"
    )
    parser.add_argument("--apply", action="store_true", help="write the best into params.yaml")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console, failed = shown.console(stderr=True), list[str]()
    try:
        interruptible()
        config = read()
        validate_names(config, Path())
        methods = chosen(config, arguments.source, arguments.methods)
        require_episodes(Layout(), arguments.source)
        configure(config.compute.threads)
        for method in track(methods, "tuning", console=console, disable=not console.is_terminal):
            try:
                study = tune(
                    config, Path(), arguments.source, method, arguments.trials, arguments.seconds
                )
            except InputError as error:
                print(shown.message(error), file=sys.stderr, flush=True)
                if method in arguments.methods or not isinstance(error, NothingToTune):
                    failed.append(method)
                continue
            print(
                f"{method}: {study.best_value:.4f} {study.best_params} "
                f"({len(finished(study))} trials, study {study.study_name})",
                flush=True,
            )
            if arguments.apply:
                apply(Path("params.yaml"), study, arguments.source, method)
        if failed:
            raise InputError(f"not tuned, for the reasons above: {', '.join(failed)}")
    except InputError as error:
        sys.exit(shown.message(error))
    except OSError as error:
        sys.exit(shown.message(refusal(error) or error))
    except KeyboardInterrupt:
        sys.exit("interrupted. Finished trials are kept; the same command goes on from here.")
    sys.exit(0)


if __name__ == "__main__":
    main()
