"""The paper's claims with their verdicts, from claims.json: {"claims": [...]}, each of them

claim, verdict       the claim in one sentence; held, did not hold, cannot be decided, not run
where, why           where the paper says it, and what decided (both may be missing)
difference           [points, low, high], where one number decides
paper                the paper's own difference in points; scale: that of the runs, in words
"""

from collections.abc import Sequence
from typing import Any

from fastbat.errors import InputError
from fastbat.report.svg import ticks
from fastbat.results.records import Record

MINUS = "\u2212"
VERDICTS = ("held", "did not hold", "cannot be decided", "not run")


def claims(records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the claims as the template shows them, on one axis; None where there are none."""
    if not records:
        return None
    measured = [each["difference"] for each in records if each.get("difference")]
    ends = [0.0, *(v for each in measured for v in each), *(c["paper"] for c in records if number(c.get("paper")))]
    low, high = min(ends) - 1, max(ends) + 1

    def place(value: float) -> float:
        return float(round(100 * (value - low) / (high - low), 2))

    axis = [{"text": f"{tick:+g}" if tick else "0", "at": place(tick)} for tick in ticks(low, high, 5)]
    return {"axis": axis, "rows": [view(each, place) for each in records], "count": tally(records)}


def number(value: Any) -> bool:
    """Say whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def tally(records: Sequence[Record]) -> list[tuple[str, int]]:
    """Return how many claims have each verdict."""
    return [(verdict, n) for verdict in VERDICTS if (n := sum(verdict_of(each) == verdict for each in records))]


def verdict_of(record: Record) -> str:
    """Return the verdict of a claim; InputError where it is none."""
    verdict = str(record.get("verdict", ""))
    for known in VERDICTS:
        if verdict.startswith(known):
            return known
    raise InputError(f"a claim in claims.json has the verdict {verdict!r}; known: {', '.join(VERDICTS)}")


def view(record: Record, place: Any) -> dict[str, Any]:
    """Return a claim as the template shows it."""
    verdict, difference, paper = verdict_of(record), record.get("difference"), record.get("paper")
    shown: dict[str, Any] = {
        "verdict": str(record["verdict"]),
        "slug": {"held": "held", "did not hold": "not-held", "cannot be decided": "undecided", "not run": "not-tried"}[
            verdict
        ],
        "text": str(record["claim"]).removesuffix("."),
        "where": str(record.get("where", "")),
        "why": " ".join(str(record[name]) for name in ("numbers", "why", "scale") if record.get(name)),
        "plot": None,
    }
    if difference:
        middle, low, high = difference
        shown["plot"] = {
            "lo": place(low), "w": round(place(high) - place(low), 2), "pt": place(middle), "zero": place(0.0),
            "paper": place(paper) if number(paper) else None,
            "words": f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", MINUS),
            "paper_words": f"paper {paper:+.1f}".replace("-", MINUS) if number(paper) else "",
        }  # fmt: skip
    return shown
