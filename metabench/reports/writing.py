"""Writing all reports of the profile in use."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.fingerprint import git_commit
from metabench.pipeline.layout import Layout
from metabench.pipeline.results import collect


def report(
    config: Config, layout: Layout, deterministic: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all reports of the profile in use; returns what they are made of, as :func:`collect`.

    Args:
        deterministic: methods on which a seed has no influence, where one seed cannot tell.

    Raises:
        InputError: cells are missing or were not measured on the same episodes.
    """
    from metabench.reports.leaderboard import write_reports
    from metabench.reports.searches import known, store, with_effort

    results, records = collect(config, layout)
    if deterministic:
        records["deterministic"] = records["method"].isin(deterministic)
    folder, found = layout.root / config.reports, known(config, layout.root, records)
    meta = {
        "profile": config.profile,
        "git_commit": git_commit(),
        "seeds": list(config.seeds),
        "params": config.values(),
    }
    with lock(folder):
        store(records, found, folder)
        write_reports(results, with_effort(records, found), folder, meta)
    return results, records


def report_again(folder: Path) -> None:
    """Write all reports of a board again, from the scores that are stored with it.

    Raises:
        InputError: none are, or damaged ones.
    """
    from metabench.reports.leaderboard import write_stored

    with lock(folder):
        write_stored(folder)
