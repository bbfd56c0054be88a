"""Gather the results that params.yaml asks for into leaderboards and figures."""

from metabench.cells import Layout
from metabench.config import Config
from metabench.provenance import git_commit
from metabench.reports.leaderboard import write_reports
from metabench.reports.open_set import open_set_figure
from metabench.results import collect
from stages import run


def main(config: Config, layout: Layout) -> None:
    """Write the reports; fails with the list of missing cells rather than average the rest."""
    results, costs = collect(config, layout)
    meta = {
        "profile": config.profile,
        "git_commit": git_commit(),
        "seeds": list(config.seeds),
        "params": config.model_dump(mode="json"),
    }
    folder = layout.root / config.reports
    write_reports(results, costs, folder, meta)
    open_set_figure(costs, folder / "figures/open_set.svg")


if __name__ == "__main__":
    run(main, __doc__)
