"""Verdicts on the paper's claims (paper/claims.toml): the comparisons that test each, made on measured accuracies.

A comparison names cells of the paper's tables. It is made where both sides were measured as the paper's arms; its
difference is taken seed by seed on the same images where they are the same. It held if its 95 % interval lies wholly on
the claimed side, did not hold if wholly on the other; else it cannot be decided at this scale. A claim held if all its
comparisons were made and held; it did not hold if one did not.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fastbat.evaluation.interval import spread_ratio
from fastbat.paper import METRICS, Printed, claims_of_the_paper
from fastbat.results.place import apart, difference
from fastbat.results.read import read
from fastbat.results.rows import Cell, Group, Row, groups_of

HELD, NOT_HELD, UNDECIDED, NOT_RUN = VERDICTS = ("held", "did not hold", "cannot be decided", "not run")
NAMES = {"sa": "SA", "ra_pgd": "RA-PGD", "ra_aa": "RA-AA", "time": "training time"}
SELECTORS = (
    "table",
    "method",
    "dataset",
    "model",
    "train_eps",
    "test_eps",
    "activation",
    "ig_mode",
    "linearise",
    "a_255",
)

Interval = tuple[float, float, float]  # the estimate and its 95 % interval


class Side(NamedTuple):
    """A measured side of a comparison."""

    row: Row
    cell: Cell


@dataclass(frozen=True)
class Comparison:
    """A comparison of the paper with what was measured of it."""

    test: Mapping[str, Any]
    found: Interval | None = None
    seeds: int = 0
    images: int = 0

    @property
    def verdict(self) -> str:
        """What the interval says of the claim."""
        if self.found is None:  # a spread over too few seeds, a time that was not measured, or nothing at all
            return UNDECIDED if self.seeds and self.test["metric"] != "time" else NOT_RUN
        low, high = aimed(self.test, self.found)
        return HELD if low > 0 else NOT_HELD if high < 0 else UNDECIDED


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with its comparisons."""

    about: Mapping[str, Any]  # id, claim, where, how, paper, supported, why
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def made(self) -> list[Comparison]:
        """The comparisons that were made."""
        return [each for each in self.comparisons if each.verdict != NOT_RUN]

    @property
    def verdict(self) -> str:
        """What they say together."""
        verdicts = {each.verdict for each in self.comparisons}
        if NOT_HELD in verdicts:
            return NOT_HELD
        if not self.made:
            return NOT_RUN
        return HELD if verdicts == {HELD} else UNDECIDED


def claims(*folders: Path | str) -> list[dict[str, Any]]:
    """Return a line for each claim of the paper: its verdict, and the comparisons that decide it.

    Args:
        folders: as of `table`.

    Raises:
        InputError: If a folder holds no records.
    """
    judged = judge(groups_of(read([Path(folder) for folder in folders])))
    return [
        {
            **{name: each.about[name] for name in ("id", "claim", "where", "supported")},
            "verdict": each.verdict,
            "made": len(each.made),
            "of": len(each.comparisons),
            "held": sum(one.verdict == HELD for one in each.made),
            "comparisons": [line(one) for one in each.made],
        }
        for each in judged
    ]


def line(one: Comparison) -> dict[str, Any]:
    """Return a comparison that was made as plain values."""
    estimate, low, high = one.found or (None, None, None)
    numbers = {"measured": estimate, "low": low, "high": high, "paper": one.test["paper"]}
    return {"what": in_words(one.test), "verdict": one.verdict, **numbers, "seeds": one.seeds, "images": one.images}


def judge(groups: Sequence[Group]) -> list[Claim]:
    """Return every claim of the paper with its comparisons on measured rows."""
    return [Claim(about, [compare(test, groups) for test in about.get("test", ())]) for about in claims_of_the_paper()]


def compare(test: Mapping[str, Any], groups: Sequence[Group]) -> Comparison:
    """Return a comparison with what was measured of it; of several suites that with most seeds and images."""
    made = [measured(test, source, groups) for source in dict.fromkeys(group.source for group in groups)]
    return max(made, key=lambda each: (each.found is not None, each.seeds, each.images), default=Comparison(test))


def measured(test: Mapping[str, Any], source: int, groups: Sequence[Group]) -> Comparison:
    """Return a comparison with what one suite has of it."""
    sides = [plainest(sides_of(test, name, source, groups)) for name in "abcd" if name in test]
    there = [side for side in sides if side is not None]
    if len(there) < len(sides):
        return Comparison(test)
    found = ratio_of_times(*there) if test["metric"] == "time" else relate(test, [side.cell for side in there])
    return Comparison(test, found, min(len(each.row.trials) for each in there), min(each.cell.n for each in there))


def plainest(sides: Iterable[Side]) -> Side | None:
    """Return the side with most seeds, of those the one with fewest settings of its own, whatever its accuracy."""
    return max(sides, key=lambda side: (len(side.row.trials), -len(side.row.trials[0].train)), default=None)


def sides_of(test: Mapping[str, Any], name: str, source: int, groups: Sequence[Group]) -> Iterator[Side]:
    """Yield the measured rows that a side of a test names."""
    wanted = {key: value for key, value in {**test, **test[name]}.items() if key in SELECTORS}
    metric = {**test, **test[name]}["metric"]
    if "surrogate" in {**test, **test[name]} or "alpha2" in test[name]:
        return  # of Tables 4 and 8, whose arms are not told by their settings alone
    for group in groups:
        for row in group.ranked if group.source == source else ():
            for attack, cell in row.cells.items():
                if metric in ("time", METRICS.get(attack)) and any(fits(printed, wanted) for printed in cell.paper):
                    yield Side(row, cell)


def fits(printed: Printed, wanted: Mapping[str, Any]) -> bool:
    """Say whether a cell of the paper is the one that a test names."""
    usual = {"activation": "relu", "ig_mode": "hessian-free", "linearise": "pgd-nosign", "a_255": None}
    return all(getattr(printed, name) == value for name, value in {**usual, **wanted}.items())


def ratio_of_times(one: Side, other: Side) -> Interval | None:
    """Return the ratio of two trainings' times, medians of timed steps, without an interval."""
    if not (one.row.cost and other.row.cost and one.row.cost.timed and other.row.cost.timed):
        return None
    ratio = one.row.cost.seconds / other.row.cost.seconds
    return ratio, ratio, ratio


def relate(test: Mapping[str, Any], cells: Sequence[Cell]) -> Interval | None:
    """Return what a test compares, with its 95 % interval; None of a spread over seeds that are too few."""
    if test.get("stat") == "std":
        ratio, low, high = spread_ratio(*([part.percent for part in cell.parts] for cell in cells))
        return None if ratio is None or low is None or high is None else (ratio, low, high)
    if test["relation"] == "a":
        return cells[0].percent, cells[0].low, cells[0].high
    one = less(*cells[:2])
    if test["relation"] == "a - b":
        return one
    other = less(*cells[2:])
    below, above = math.hypot(one[0] - one[1], other[2] - other[0]), math.hypot(one[2] - one[0], other[0] - other[1])
    return one[0] - other[0], one[0] - other[0] - below, one[0] - other[0] + above


def less(one: Cell, other: Cell) -> Interval:
    """Return an accuracy less another, paired if they can be."""
    return difference(one, other) or (one.percent - other.percent, *apart(one, other, 1))


def aimed(test: Mapping[str, Any], found: Interval) -> tuple[float, float]:
    """Return an interval that is above 0 where the test's claim holds: how far it is on the claimed side."""
    _, low, high = found
    if test["op"] == ">":
        return low - test["than"], high - test["than"]
    if test["op"] == "<":
        return test["than"] - high, test["than"] - low
    room, middle = test["within"], test["than"]
    near = 0.0 if low <= middle <= high else min(abs(low - middle), abs(high - middle))
    return room - max(abs(low - middle), abs(high - middle)), room - near


def in_words(test: Mapping[str, Any]) -> str:
    """Return what a test compares, such as `RA-PGD at eps 8 on cifar10: fast-bat less fast-at`."""
    sides = [", ".join(str(value) for value in test[name].values()) for name in "abcd" if name in test]
    what = NAMES.get(test["metric"], test["metric"])
    joined = {"a": "{}", "a - b": "{} less {}", "a / b": "{} over {}"}.get(
        test["relation"], "({} less {}) less ({} less {})"
    )
    spread = "spread over seeds of " if test.get("stat") == "std" else ""
    at = f" at eps {test['train_eps']}" if "train_eps" in test else ""
    return f"{spread}{what}{at}, {test['dataset']}, {test['model']}: {joined.format(*sides)}"
