"""Gather the results that params.yaml asks for into leaderboards, guide, page and figures."""

from metabench.config import Config
from metabench.layout import Layout
from metabench.provenance import git_commit
from metabench.results import report
from metabench.serving import publish
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write the reports; fails with the list of missing cells rather than average the rest."""
    report(config, layout)
    publish(config, layout, git_commit())


if __name__ == "__main__":
    run(main, __doc__)
