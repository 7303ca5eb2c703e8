"""Verdicts on the paper's claims (paper/claims.toml): the comparisons that test each, made on measured accuracies.

A comparison names cells of the paper's tables, or what a figure or a sentence is about: accuracies of the last epoch's
weights (`weights`), gradient alignment (`ga`), an arm that the paper has not. It is made where both sides were measured
as the paper's arms; its difference is taken seed by seed on the same images where they are the same. It held if its
95 % interval lies wholly on the claimed side, did not hold if wholly on the other; else it cannot be decided at this
scale. A claim held if all its comparisons were made and held; it did not hold if one did not.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fastbat.evaluation.interval import mean_over_seeds, spread_ratio
from fastbat.paper import Printed, arm_of, claims_of_the_paper, of_arm, prints
from fastbat.results.place import apart, difference
from fastbat.results.read import read
from fastbat.results.rows import Cell, Group, Row, groups_of

HELD, NOT_HELD, UNDECIDED, NOT_RUN = VERDICTS = ("held", "did not hold", "cannot be decided", "not run")
NAMES = {
    "sa": "SA", "ra_pgd": "RA-PGD", "ra_aa": "RA-AA", "ra_transfer": "RA-transfer", "time": "training time",
    "ga": "gradient alignment after the last epoch",
}  # fmt: skip
CELL = (
    "method", "dataset", "model", "metric", "train_eps", "test_eps", "activation", "ig_mode", "linearise", "a_255",
)  # fmt: skip
OTHER = ("surrogate", "alpha2")
FROM_EPOCHS = ("time", "ga")  # not accuracies
READINGS = {"tied": "lambda tied to alpha2", "fixed": "lambda fixed"}  # of Table 8

Interval = tuple[float, float, float]  # the estimate and its 95 % interval


class Side(NamedTuple):
    """What may be a side of a comparison: an arm of the paper with the accuracy under an attack."""

    row: Row
    attack: str
    cell: Cell
    known: Mapping[str, Any]  # settings of its training
    ours: Mapping[str, Any]  # and of its method


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
    numbers = {"measured": estimate, "low": low, "high": high, "paper": one.test.get("paper")}
    return {"what": in_words(one.test), "verdict": one.verdict, **numbers, "seeds": one.seeds, "images": one.images}


def judge(groups: Sequence[Group]) -> list[Claim]:
    """Return every claim of the paper with its comparisons on measured rows."""
    sides: dict[int, list[Side]] = {}
    for group in groups:
        sides.setdefault(group.source, []).extend(sides_of(group))
    return [
        Claim(about, [compare(test, list(sides.values())) for test in about.get("test", ())])
        for about in claims_of_the_paper()
    ]


def sides_of(group: Group) -> Iterator[Side]:
    """Yield the accuracies of the rows of a group that are arms of the paper."""
    for row in group.rows:
        known = row.trials[0].known
        if ours := arm_of(known):
            yield from (Side(row, attack, cell, known, ours) for attack, cell in row.cells.items())


def compare(test: Mapping[str, Any], suites: Sequence[Sequence[Side]]) -> Comparison:
    """Return a comparison with what was measured of it; of several suites that with most seeds and images."""
    made = [measured(test, sides) for sides in suites]
    return max(made, key=lambda each: (each.found is not None, each.seeds, each.images), default=Comparison(test))


def measured(test: Mapping[str, Any], sides: Sequence[Side]) -> Comparison:
    """Return a comparison with what one suite has of it."""
    found = [plainest(fitting({**test, **test[name]}, sides)) for name in "abcd" if name in test]
    there = [side for side in found if side is not None]
    if len(there) < len(found):
        return Comparison(test)
    interval = BY_METRIC.get(test["metric"], relate)(test, there)
    seeds, images = min(len(each.row.trials) for each in there), min(each.cell.n for each in there)
    return Comparison(test, interval, seeds, images)


def plainest(sides: Iterable[Side]) -> Side | None:
    """Return the side with most seeds, of those the one with fewest settings of its own, whatever its accuracy."""
    return max(sides, key=lambda side: (len(side.row.trials), -len(side.row.trials[0].train)), default=None)


def fitting(wanted: Mapping[str, Any], sides: Sequence[Side]) -> Iterator[Side]:
    """Yield the sides that a test names."""
    selected = {name: wanted[name] for name in CELL if name in wanted}
    cell = Printed(0, mean=math.nan, other={name: wanted[name] for name in OTHER if name in wanted}, **selected)
    for side in sides:
        reading = "fixed" if "ig_weight" in side.row.trials[0].train else "tied"
        if side.row.checkpoint not in ("", wanted.get("weights", "best")) or wanted.get("reading", reading) != reading:
            continue
        eps = side.cell.parts[0].eps_255
        accuracy = wanted["metric"] in FROM_EPOCHS or prints(cell, side.known, side.ours, side.attack, eps)
        if accuracy and of_arm(cell, side.known, side.ours):
            yield side


def ratio_of_times(test: Mapping[str, Any], sides: Sequence[Side]) -> Interval | None:
    """Return the ratio of two trainings' times, medians of timed steps, without an interval."""
    one, other = (side.row.cost for side in sides)
    if not (one and other and one.timed and other.timed):
        return None
    ratio = one.seconds / other.seconds
    return ratio, ratio, ratio


def less_alignment(test: Mapping[str, Any], sides: Sequence[Side]) -> Interval | None:
    """Return the gradient alignment of one arm less another's after their last epochs, over the seeds of both."""
    one, other = (
        {trial.seed: trial.epochs[-1]["ga"] for trial in side.row.trials if trial.epochs and "ga" in trial.epochs[-1]}
        for side in sides
    )
    gains = [value - other[seed] for seed, value in one.items() if seed in other]
    return mean_over_seeds(gains) if len(gains) > 1 else None


def relate(test: Mapping[str, Any], sides: Sequence[Side]) -> Interval | None:
    """Return what a test compares, with its 95 % interval; None of a spread over seeds that are too few."""
    cells = [side.cell for side in sides]
    if test.get("stat") == "std":
        ratio, low, high = spread_ratio(*([part.percent for part in cell.parts] for cell in cells))
        return None if ratio is None or low is None or high is None else (ratio, low, high)
    if test["relation"] == "a":
        return cells[0].percent, cells[0].low, cells[0].high
    if test["relation"] == "a / b":  # by the ends of both intervals: on the wide side
        a, b = cells
        return (a.percent / b.percent, a.low / b.high, a.high / b.low) if b.low else None
    one = less(*cells[:2])
    if test["relation"] == "a - b":
        return one
    other = less(*cells[2:])
    below, above = math.hypot(one[0] - one[1], other[2] - other[0]), math.hypot(one[2] - one[0], other[0] - other[1])
    return one[0] - other[0], one[0] - other[0] - below, one[0] - other[0] + above


BY_METRIC = {"time": ratio_of_times, "ga": less_alignment}


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
    sides = [", ".join(map(word_of, test[name].items())) for name in "abcd" if name in test]
    what = NAMES.get(test["metric"], test["metric"])
    joined = {"a": "{}", "a - b": "{} less {}", "a / b": "{} over {}"}.get(
        test["relation"], "({} less {}) less ({} less {})"
    )
    spread = "spread over seeds of " if test.get("stat") == "std" else ""
    at = f" at eps {test['train_eps']}" if "train_eps" in test else ""
    others = [f"made on {test['surrogate']}"] if "surrogate" in test else []
    others += [f"{test['weights']} epoch"] if "weights" in test else []
    others += [READINGS[test["reading"]]] if "reading" in test else []
    where = ", ".join([f"{spread}{what}{at}", test["dataset"], test["model"], *others])
    return f"{where}: {joined.format(*sides)}"


def word_of(setting: tuple[str, Any]) -> str:
    """Return a setting of a side as a word."""
    name, value = setting
    return {"weights": f"{value} epoch", "ig_mode": "without its term" if value == "none" else value}.get(name) or str(
        value
    )
