"""Do the statistics keep their word? Coverage, false alarms, power, advice, as printed tables.

``python -m benchmarks.power`` takes some minutes on one core. With a number it simulates so many
blocks (10,000), with names only these tables: ``python -m benchmarks.power 1000 coverage``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.worlds import (
    SCATTERS,
    World,
    camps,
    coverage,
    enough_seeds,
    false_alarms,
    power,
    rank_alarms,
    recommendation,
)

SEEDS = (3, 5, 10)
KINDS = {"normal, 50 ep.": (50, False), "600 ep.": (600, False), "heavy, 600 ep.": (600, True)}
"""Episodes, and whether seeds are heavy-tailed."""

Row = Sequence[object]


@dataclass(frozen=True)
class Table:
    """What is printed: ``rows`` takes the number of simulations."""

    title: str
    head: Sequence[str]
    rows: Callable[[int], Iterator[Row]]

    def show(self, count: int) -> None:
        """Print it in markdown, row by row."""
        print(f"\n{self.title}:\n\n| {' | '.join(self.head)} |\n|{' --- |' * len(self.head)}")
        for row in self.rows(count):
            cells = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row]
            print(f"| {' | '.join(cells)} |", flush=True)


def coverages(count: int) -> Iterator[Row]:
    """A row for each block and number of seeds."""
    for name, scatter in SCATTERS.items():
        for seeds in SEEDS:
            found = [
                coverage(World(scatter, seeds, episodes, heavy=heavy), count)
                for episodes, heavy in KINDS.values()
            ]
            cells = [f"{f['average']:.1f} / {f['most']:.1f}" for f in found]
            yield [name, seeds, *cells, f"{found[1]['width']:.2f}"]


def alarms(count: int) -> Iterator[Row]:
    """A row for each block."""
    worlds = {name: World(scatter, 3) for name, scatter in SCATTERS.items()}
    worlds["12 methods, 1.5, 6 share a learner"] = World((1.5,) * 12, 3, together=6)
    worlds["12 methods, 1.5, 6 worse by 10"] = World((1.5,) * 12, 3, truth=(0,) * 6 + (-10,) * 6)
    for name, world in worlds.items():
        cells = []
        for seeds in SEEDS:
            for episodes, heavy in KINDS.values():
                again = replace(world, seeds=seeds, episodes=episodes, heavy=heavy)
                found = false_alarms(again, count)
                cells.append(f"{found['family']:.1f} / {found['comparison']:.1f}")
        yield [name, *cells]


def leads(count: int) -> Iterator[Row]:
    """A row for each way in which methods are behind the best."""
    mixed = tuple(np.linspace(0.5, 2.5, 45))
    for title, scatter, truth in (
        ("3 of 1.5; two 3.5 behind", (1.5,) * 3, (0, -3.5, -3.5)),
        ("45 of 1.5; all 5 behind", (1.5,) * 45, (0, *[-5] * 44)),
        ("45 of 1.5; ten 5, the others 20 behind", (1.5,) * 45, (0, *[-5] * 10, *[-20] * 34)),
        ("45 of 0.5 to 2.5; all 5 behind", mixed, (*[-5] * 22, 0, *[-5] * 22)),
        ("45 of 0; all 1 behind", (0,) * 45, (0, *[-1] * 44)),
        ("12 of 0 to 4; all 0.5 behind", SCATTERS["12 methods, 0 to 4"], (0, *[-0.5] * 11)),
        ("12 of 4 to 0; all 0.5 behind", SCATTERS["12 methods, 0 to 4"][::-1], (0, *[-0.5] * 11)),
    ):
        cells: list[object] = []
        for seeds in SEEDS:
            found = power(World(scatter, seeds, truth=truth), count // 3)
            verdicts = f"{found['power']:.0f} / {found['oracle']:.0f} ({found['lost']:.1f})"
            cells += [verdicts, found["detectable"]]
        yield [title, *cells]


def detected(count: int) -> Iterator[Row]:
    """A row for each size of a block."""
    for k in (3, 12, 45):
        cells = []
        for seeds in SEEDS:
            world = World((1.5,) * k, seeds, truth=(0, *[-5.0] * (k - 1)))
            says = power(world, 300)["detectable"]
            found = power(replace(world, truth=(0, *[-says] * (k - 1))), count // 3)
            cells.append(f"{says:.1f}: {found['power']:.0f}")
        yield [f"{k} methods", *cells]


def between_camps(count: int) -> Iterator[Row]:
    """Camps that are alike, then camps of which one is ahead."""
    for sizes, mixed in (
        ((1, 1, 1), False), ((4, 4, 4), False), ((20, 15, 5), False),
        ((10, 1, 1), False), ((10, 1, 1), True), ((30, 1), False), ((30, 1), True),
    ):  # fmt: skip
        k, cells = sum(sizes), []
        scatter = np.random.default_rng(k).permutation(np.linspace(0, 4, k)) if mixed else [1.5] * k
        for seeds in SEEDS:
            world = World(tuple(scatter), seeds)
            same, others, naive = (
                camps(sizes, world, count, learners, allow)["alarms"]
                for learners, allow in ((True, True), (False, True), (True, False))
            )
            cells.append(f"{same:.1f} / {others:.1f} ({naive:.1f})")
        what = "0 to 4" if mixed else "1.5"
        yield [f"false alarms: {' + '.join(map(str, sizes))} methods of {what}, all alike", *cells]
    for title, camp in (("far ahead in", (0, -6, -6, -6)), ("one of four alike in", (0,) * 4)):
        truth = np.concatenate([camp, np.subtract(camp, 3.5), np.subtract(camp, 3.5)])
        cells = []
        for seeds in SEEDS:
            world = World((1.5,) * 12, seeds, truth=tuple(truth))
            same, others = (
                camps((4, 4, 4), world, count // 3, learners)["power"] for learners in (True, False)
            )
            cells.append(f"{same:.1f} / {others:.1f}")
        yield [f"power: 4 + 4 + 4 of 1.5, champions {title} their camps, two 3.5 behind", *cells]


def advice(count: int) -> Iterator[Row]:
    """A row for each number of seeds, candidates and lead."""
    worlds = [
        (f"{seeds}, 2.5, 600", k, lead, World((2.5,) * k, seeds))
        for seeds in (2, 3) for k in (2, 6, 12) for lead in (0.0, 2.0, 5.0, 25.0)
    ]  # fmt: skip
    worlds += [
        (f"5, {scatter}, 3000", 6, lead, World((scatter,) * 6, 5, 3000))
        for scatter, lead in ((0.2, 0.5), (0.2, 1.5), (0.0, 0.5))
    ]
    for what, k, lead, world in worlds:
        found = recommendation(replace(world, truth=(0, *[-lead] * (k - 1))), count)
        yield [what, k, lead, *(f"{value:.2f}" for value in found.values())]


def decided(count: int) -> Iterator[Row]:
    """A row for each block of 12."""
    for seeds, scatter, lead in ((3, 1.5, 3.0), (3, 1.5, 6.0), (5, 1.5, 2.0), (5, 0.5, 1.5)):
        world = World((scatter,) * 12, seeds, 2000, truth=(0, *[-lead] * 11))
        yield [seeds, scatter, lead, *enough_seeds(world, max(20, count // 50))]


def ranked(count: int) -> Iterator[Row]:
    """A row for each number of units and methods."""
    for units in (10, 15, 30):
        for k in (5, 12, 45):
            found = (rank_alarms(k, units, count // 3, share) for share in (True, False))
            yield [units, k, *found]


PER_SEEDS = [f"{seeds} seeds" for seeds in SEEDS]
TABLES = {
    "coverage": Table(
        "Coverage %, on average over a block / of the method that varies most; width, to Student's",
        ["block", "seeds", *KINDS, "width"],
        coverages,
    ),
    "alarms": Table(
        "Blocks % in which a method is behind that is as good as any / of the method to which that "
        "happens most",
        ["block", *(f"{seeds} seeds, {kind}" for seeds in SEEDS for kind in KINDS)],
        alarms,
    ),
    "power": Table(
        "Power %: found behind the best / by an oracle that knows the variances (the truly best "
        "one is behind); and the difference that the board says it detects",
        ["methods of sd", *(head for seeds in PER_SEEDS for head in (seeds, "detects"))],
        leads,
    ),
    "detectable": Table(
        "The difference that a board of sd 1.5 says it detects: how often (%) it does",
        ["block", *PER_SEEDS],
        detected,
    ),
    "camps": Table(
        "The champions' test %, val scores of the same learners / of others (of the same, if "
        "nothing were allowed for the choice)",
        ["camps", *PER_SEEDS],
        between_camps,
    ),
    "advice": Table(
        "Recommendations: points given away, cases (%) in which more than two are, and in which it "
        "is something cheaper than the best mean",
        ["seeds, sd, episodes", "candidates", "lead", "gives away", "best mean gives away",
         "loses > 2 points", "best mean does", "cheaper"],
        advice,
    ),
    "seeds": Table(
        "Undecided among 12: the seeds that are asked for (median), and how many % they decide",
        ["seeds", "sd", "behind by", "asked for", "decided then"],
        decided,
    ),
    "ranks": Table(
        "Rankings (%) of methods that are alike with a critical difference somewhere",
        ["units", "methods", "episodes of their own", "the same episodes for five seeds"],
        ranked,
    ),
}  # fmt: skip


def main(count: int, *names: str) -> None:
    """Print the tables; ``count`` simulations wherever 6 % is a limit or coverage is measured."""
    for name in names or TABLES:
        TABLES[name].show(count)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    count = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 10_000
    main(count, *arguments)
