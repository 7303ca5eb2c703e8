"""Verdicts on the paper's claims (paper/claims.toml): the comparisons that test each, made on what was measured.

A comparison names cells of the paper's tables, or what a figure or a sentence is about (results/comparisons.py). It is
made where its sides were measured as the paper's arms; its difference is taken seed by seed on the same images where
they are the same. It held if its 95 % interval lies wholly on the claimed side, did not hold if wholly on the other;
else it cannot be decided at this scale. Nor can it by one seed, whose interval is over images alone; an example against
what is claimed of all trainings is enough. Where an example is claimed to exist, none was found rather than refuted.

A claim held if all its comparisons were made and held; it did not hold if one did not. One that no experiment decides
is not testable, and says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastbat.paper import claims_of_the_paper
from fastbat.results.comparisons import OF_ALL, Interval, make
from fastbat.results.read import Found, read
from fastbat.results.rows import Group, groups_of
from fastbat.results.sides import Side, sides_of

HELD, NOT_HELD, UNDECIDED, NOT_RUN, NOT_TESTABLE = VERDICTS = (
    "held", "did not hold", "cannot be decided", "not run", "not testable",
)  # fmt: skip
NAMES = {
    "sa": "SA", "ra_pgd": "RA-PGD", "ra_aa": "RA-AA", "ra_transfer": "RA-transfer", "time": "training time",
    "ga": "gradient alignment after the last epoch",
    "hessian": "Hessian of the attack over lambda, |H v| / (lambda |v|)",
    "fallbacks": "share of batches with negative curvature beyond lambda",
    "loss_range": "range of the loss within the budget around an image",
    "loss_bend": "distance of the loss from its plane within the budget",
    "slope": "slope of the mean squared gradient over T steps, log against log",
    "ga_fall": "fall of gradient alignment with a collapse, mean",
    "ga_least_fall": "fall of gradient alignment with a collapse, the least",
    "ga_sound": "lowest gradient alignment after the last epoch without a collapse",
    "ga_collapsed": "highest gradient alignment after a collapsed epoch",
}  # fmt: skip
READINGS = {"tied": "lambda tied to alpha2", "fixed": "lambda fixed"}  # of Table 8


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
        one, of_all = self.seeds < 2, self.test["metric"] in OF_ALL
        if self.found is None or (one and not of_all and self.test["metric"] != "time"):
            return UNDECIDED if self.seeds else NOT_RUN  # of too few seeds, or of nothing at all
        low, high = aimed(self.test, self.found)
        if low > 0:
            return UNDECIDED if one and of_all and not self.test.get("exists") else HELD
        return NOT_HELD if high < 0 and not self.test.get("exists") else UNDECIDED


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with its comparisons."""

    about: Mapping[str, Any]  # id, claim, where, how, paper, supported, why, not_testable
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def made(self) -> list[Comparison]:
        """The comparisons that were made."""
        return [each for each in self.comparisons if each.verdict != NOT_RUN]

    @property
    def reason(self) -> str:
        """Why no experiment decides it; empty where one may."""
        return str(self.about.get("not_testable", ""))

    @property
    def verdict(self) -> str:
        """What they say together."""
        if self.reason:
            return NOT_TESTABLE
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
    found = read([Path(folder) for folder in folders])
    return [
        {
            **{name: each.about[name] for name in ("id", "claim", "where", "supported")},
            "verdict": each.verdict,
            "reason": each.reason,
            "made": len(each.made),
            "of": len(each.comparisons),
            "held": sum(one.verdict == HELD for one in each.made),
            "comparisons": [line(one) for one in each.made],
        }
        for each in judge(found, groups_of(found))
    ]


def line(one: Comparison) -> dict[str, Any]:
    """Return a comparison that was made as plain values."""
    estimate, low, high = one.found or (None, None, None)
    numbers = {"measured": estimate, "low": low, "high": high, "paper": one.test.get("paper")}
    return {"what": in_words(one.test), "verdict": one.verdict, **numbers, "seeds": one.seeds, "images": one.images}


def judge(found: Found, groups: Sequence[Group]) -> list[Claim]:
    """Return every claim of the paper with its comparisons on what was read, whose rows are in `groups`."""
    sides: dict[int, list[Side]] = {}
    for group in groups:
        sides.setdefault(group.source, []).extend(sides_of(group, found.looks))
    return [
        Claim(about, [compare(test, list(sides.values())) for test in about.get("test", ())])
        for about in claims_of_the_paper()
    ]


def compare(test: Mapping[str, Any], suites: Sequence[Sequence[Side]]) -> Comparison:
    """Return a comparison with what was measured of it; of several suites that with most seeds and images."""
    made = [each for sides in suites if (each := make(test, sides))]
    best = max(made, key=lambda each: (each.found is not None, each.seeds, each.images), default=None)
    return Comparison(test) if best is None else Comparison(test, *best)


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
    return f"{where}: {joined.format(*sides)}" if all(sides) else where


def word_of(setting: tuple[str, Any]) -> str:
    """Return a setting of a side as a word."""
    name, value = setting
    if setting == ("ig_mode", "none"):
        return "without its term"
    return {"weights": f"{value} epoch", "c": f"c = {value}"}.get(name, str(value))
