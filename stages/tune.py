"""Tune methods on the validation episodes of one source: equal trials and wall budget for each.

Not part of the graph: tuning is done once, its result is written into params.yaml. Needs the
source's data, episodes and backbone (`dvc repro pretrain@SOURCE`). Interrupt it at will: the study
goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

import optuna
from rich.progress import track

from metabench import shown
from metabench.checks import check_names
from metabench.config import load
from metabench.files import InputError, refusal
from metabench.runtime import configure
from metabench.tuning import NothingToTune, apply, finished, tune
from stages import interruptible


def main() -> None:
    """Tune the named methods, print the best settings, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument(
        "methods",
        nargs="*",
        help="default: all methods of the source's track; `backbone`: the pretraining",
    )
    parser.add_argument("--trials", type=int, default=20, help="trials of each method")
    parser.add_argument("--seconds", type=float, default=3600, help="wall budget of each method")
    parser.add_argument("--apply", action="store_true", help="write the best into params.yaml")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console, failed = shown.console(stderr=True), False
    try:
        interruptible()
        config = load()
        check_names(config)
        configure(config.compute.threads)
        methods = arguments.methods or config.track_of(arguments.source).methods
        for method in track(methods, "tuning", console=console, disable=not console.is_terminal):
            try:
                study = tune(
                    config, Path(), arguments.source, method, arguments.trials, arguments.seconds
                )
            except InputError as error:
                print(shown.message(error), file=sys.stderr, flush=True)
                failed |= method in arguments.methods or not isinstance(error, NothingToTune)
                continue
            print(
                f"{method}: {study.best_value:.4f} {study.best_params} "
                f"({len(finished(study))} trials, study {study.study_name})",
                flush=True,
            )
            if arguments.apply:
                apply(Path("params.yaml"), study, arguments.source, method)
    except InputError as error:
        sys.exit(shown.message(error))
    except OSError as error:
        sys.exit(shown.message(refusal(error) or error))
    except KeyboardInterrupt:
        sys.exit("interrupted. Finished trials are kept; the same command goes on from here.")
    sys.exit(failed)


if __name__ == "__main__":
    main()
