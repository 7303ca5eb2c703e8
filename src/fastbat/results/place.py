"""The range of ranks that a row may have: how many others are better than it, and how many worse, beyond doubt.

Two rows are told apart by the paired difference on the same images, seed by seed, all pairs of a group together at 95 %
(Bonferroni); where images or seeds are not the same, by intervals that do not overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastbat.evaluation.interval import paired_over_seeds

if TYPE_CHECKING:
    from fastbat.results.rows import Cell, Row


def places(rows: Sequence[Row], attack: str) -> dict[str, tuple[int, int]]:
    """Return the first and the last place that each row may have, by its id; nothing for a row without the accuracy."""
    there = [row for row in rows if attack in row.cells]
    worse = {row.id: {other.id for other in there if beats(row, other, there, attack)} for row in there}
    better = Counter(loser for losers in worse.values() for loser in losers)
    return {row.id: (1 + better[row.id], len(there) - len(worse[row.id])) for row in there}


def beats(one: Row, other: Row, rows: Sequence[Row], attack: str) -> bool:
    """Say whether `one` is better than `other` beyond doubt, where all pairs of `rows` are compared."""
    tests = len(rows) * (len(rows) - 1) // 2
    return one is not other and apart(one.cells[attack], other.cells[attack], tests)[0] > 0


def apart(one: Cell, other: Cell, tests: int) -> tuple[float, float]:
    """Return the interval of the accuracy of `one` less that of `other`, in points."""
    if found := difference(one, other, tests):
        return found[1:]
    return one.low - other.high, one.high - other.low


def difference(one: Cell, other: Cell, tests: int = 1) -> tuple[float, float, float] | None:
    """Return the paired difference of two accuracies and its interval; None where seeds or images are not alike."""
    if not (one.masks and other.masks) or (one.n, one.images) != (other.n, other.images):
        return None
    mine, theirs = (dict(zip(cell.seeds, cell.masks, strict=True)) for cell in (one, other))
    seeds = list(mine) if len(mine) == len(theirs) == 1 else [seed for seed in mine if seed in theirs]
    if not seeds or len(seeds) < max(len(mine), len(theirs)):
        return None
    others = list(theirs.values()) if len(theirs) == 1 else [theirs[seed] for seed in seeds]
    return paired_over_seeds([mine[seed] for seed in seeds], others, one.n, tests)
