"""Writing all reports of the profile in use."""

from __future__ import annotations

import pandas as pd

from metabench.config import Config
from metabench.files import lock
from metabench.pipeline.fingerprint import git_commit
from metabench.pipeline.layout import Layout
from metabench.pipeline.results import collect


def report(config: Config, layout: Layout) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write all reports of the profile in use; returns what they are made of, as :func:`collect`.

    Raises:
        InputError: cells are missing or were not measured on the same episodes.
    """
    from metabench.reports.leaderboard import write_reports
    from metabench.reports.open_set import open_set_figure

    results, records = collect(config, layout)
    folder = layout.root / config.reports
    meta = {
        "profile": config.profile,
        "git_commit": git_commit(),
        "seeds": list(config.seeds),
        "params": config.model_dump(mode="json"),
    }
    with lock(folder):
        write_reports(results, records, folder, meta)
        open_set_figure(records, folder / "figures/open_set.svg")
    return results, records
