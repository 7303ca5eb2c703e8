"""The paper's claims with their verdicts (results/claims.py), the comparison that decides each drawn on one axis."""

from collections.abc import Callable, Sequence
from typing import Any

from fastbat.report.svg import ticks
from fastbat.results.claims import VERDICTS, Claim, Comparison, in_words
from fastbat.results.comparisons import OF_ALL
from fastbat.results.names import counted
from fastbat.results.sides import ACCURACIES

MINUS = "\u2212"
SLUGS = dict(zip(VERDICTS, ("held", "not-held", "undecided", "not-tried", "not-tried"), strict=True))


def claims(judged: Sequence[Claim]) -> dict[str, Any] | None:
    """Return the claims with a comparison that was made, as the template shows them; None where there are none.

    After them come those that no experiment decides, each with its reason.
    """
    made = [each for each in judged if each.made]
    if not made:
        return None
    drawn = [one for each in made if in_points(one := decisive(each))]
    ends = [0.0, *(value for one in drawn for value in (*(one.found or ()), *papers(one)))]
    low, high = min(ends) - 1, max(ends) + 1

    def place(value: float) -> float:
        return float(round(100 * (value - low) / (high - low), 2))

    axis = [
        {"text": f"{tick:+g}".replace("-", MINUS) if tick else "0", "at": place(tick)} for tick in ticks(low, high, 5)
    ]
    count = [(verdict, sum(each.verdict == verdict for each in judged)) for verdict in VERDICTS]
    return {
        "axis": axis if drawn else [],
        "rows": [
            *(view(each, place) for each in sorted(made, key=lambda each: VERDICTS.index(each.verdict))),
            *(named(each) | {"why": each.reason} for each in judged if each.reason),
        ],
        "count": [(verdict, n) for verdict, n in count if n],
    }


def decisive(claim: Claim) -> Comparison:
    """Return the comparison that a verdict hangs on: the first that has it, else the first that was made."""
    return next((each for each in claim.made if each.verdict == claim.verdict), claim.made[0])


def in_points(one: Comparison) -> bool:
    """Say whether a comparison is a difference in points."""
    return "-" in one.test["relation"] and one.test["metric"] in ACCURACIES and one.found is not None


def named(claim: Claim) -> dict[str, Any]:
    """Return a claim with its verdict, and without what decides it."""
    return {
        "verdict": claim.verdict,
        "slug": SLUGS[claim.verdict],
        "text": str(claim.about["claim"]).removesuffix("."),
        "where": claim.about["where"],
        "one": "",
        "others": [],
        "plot": None,
    }


def view(claim: Claim, place: Callable[[float], float]) -> dict[str, Any]:
    """Return a claim as the template shows it."""
    one, of = decisive(claim), len(claim.comparisons)
    held = sum(each.verdict == VERDICTS[0] for each in claim.made)
    left = f", {of - len(claim.made)} of {of} not made" if of > len(claim.made) else ""
    theirs = f"By the paper's own tables: {claim.about['supported']}"
    return named(claim) | {
        "why": f"{held} of {len(claim.made)} comparisons held{left}. {theirs}.",
        "one": sentence(one),
        "others": [f"{each.verdict}: {sentence(each)}" for each in claim.made if each is not one],
        "plot": plot(one, place) if in_points(one) else None,
    }


def plot(one: Comparison, place: Callable[[float], float]) -> dict[str, Any]:
    """Return the places of a difference, its interval and the paper's own on the axis."""
    middle, low, high = one.found or (0.0, 0.0, 0.0)
    return {
        "lo": place(low), "w": round(place(high) - place(low), 2), "pt": place(middle), "zero": place(one.test["than"]),
        "paper": [place(value) for value in papers(one)],
    }  # fmt: skip


def papers(one: Comparison) -> list[float]:
    """Return the paper's own value of a comparison, in a list; an empty one where it prints none."""
    return [one.test["paper"]] if "paper" in one.test else []


def sentence(one: Comparison) -> str:
    """Return a comparison with its numbers, the paper's, and its scale."""
    form = "+.2f" if "-" in one.test["relation"] else ".2f"
    measured, theirs = (
        [f"{value:{form}}".replace("-", MINUS) for value in values] for values in (one.found or (), papers(one))
    )
    certain = len(set(measured)) == 1  # a number without an interval
    numbers = ("{}" if certain else "{} [{}, {}]").format(*measured) if measured else "too few seeds"
    paper = f"the paper {theirs[0]}" if theirs else "not in the paper's numbers"
    noun = "training" if one.test["metric"] in OF_ALL else "seed"
    scale = counted(one.seeds, noun) + (f", {one.images:,} images" if one.images else "")
    return f"{in_words(one.test)}: {numbers}; {paper}; {scale}"
