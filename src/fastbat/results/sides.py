"""The sides of a comparison: what was measured of the paper's arms, and which of it a test of a claim names."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastbat.paper import Printed, arm_of, of_arm, prints
from fastbat.results.read import Look
from fastbat.results.records import Trial
from fastbat.results.rows import Cell, Group, Row

CELL = (
    "method", "dataset", "model", "metric", "train_eps", "test_eps", "activation", "ig_mode", "linearise", "a_255",
)  # fmt: skip
OTHER = ("surrogate", "alpha2")
ACCURACIES = ("sa", "ra_pgd", "ra_aa", "ra_transfer")


class Side(NamedTuple):
    """What may be a side of a comparison: an arm of the paper with the accuracy under an attack."""

    row: Row
    attack: str
    cell: Cell
    known: Mapping[str, Any]  # settings of its training
    ours: Mapping[str, Any]  # and of its method
    looks: tuple[Look, ...] = ()  # the closer looks at its weights, a seed each


def sides_of(group: Group, looks: Sequence[Look]) -> Iterator[Side]:
    """Yield the accuracies of the rows of a group that are arms of the paper, whose trainings nothing guards."""
    for row in group.rows:
        known = row.trials[0].known
        if (ours := arm_of(known)) and not guarded(known):
            mine = tuple(each for trial in row.trials for each in looks if each.trial is trial and is_of(each, row))
            yield from (Side(row, attack, cell, known, ours, mine) for attack, cell in row.cells.items())


def guarded(known: Mapping[str, Any]) -> bool:
    """Say whether a training with these settings stops, or changes its method, where it collapses."""
    return known.get("on_collapse", "warn") != "warn" or known.get("on_alarm", "warn") not in ("ignore", "warn")


def is_of(look: Look, row: Row) -> bool:
    """Say whether a closer look at a training of `row` is at the weights of the row."""
    return look.checkpoint == row.checkpoint


def fitting(wanted: Mapping[str, Any], sides: Sequence[Side]) -> Iterator[Side]:
    """Yield the sides that a test names; one that names no method means every method of the paper."""
    selected = {name: wanted[name] for name in CELL if name in wanted}
    other = {name: wanted[name] for name in OTHER if name in wanted}
    for side in sides:
        cell = Printed(0, mean=math.nan, other=other, **{"method": side.known["method"], **selected})
        reading = "fixed" if "ig_weight" in side.row.trials[0].train else "tied"
        if side.row.checkpoint not in ("", wanted.get("weights", "best")) or wanted.get("reading", reading) != reading:
            continue
        eps = side.cell.parts[0].eps_255
        accuracy = wanted["metric"] not in ACCURACIES or prints(cell, side.known, side.ours, side.attack, eps)
        if accuracy and of_arm(cell, side.known, side.ours):
            yield side


def plainest(sides: Iterable[Side]) -> Side | None:
    """Return the side with most seeds, of those the one with fewest settings of its own, whatever its accuracy."""
    return max(sides, key=lambda side: (len(side.row.trials), -len(side.row.trials[0].train)), default=None)


def trainings(sides: Iterable[Side]) -> list[Trial]:
    """Return the trainings of some sides, each once."""
    return list({id(trial): trial for side in sides for trial in side.row.trials}.values())
