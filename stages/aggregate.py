"""Gather the results that params.yaml asks for into leaderboards, guide, page and figures."""

from metabench.config import Config
from metabench.pipeline.fingerprint import git_commit
from metabench.pipeline.layout import Layout
from metabench.reports.writing import report
from metabench.tracking.best import publish
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write the reports; fails with the list of missing cells rather than average the rest."""
    _, records = report(config, layout)
    publish(config, layout, records, git_commit())


if __name__ == "__main__":
    run(main, __doc__)
