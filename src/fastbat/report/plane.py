"""Robust accuracy against training cost, with the Pareto front; beside it the paper's own plane (Table 10)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from fastbat.paper import cells
from fastbat.report.cards import Cards
from fastbat.report.labels import place_labels
from fastbat.report.svg import Plot, Point, cross, diamond, disc, leader, linked, top_with, written
from fastbat.results.names import SHOWN, shown
from fastbat.results.read import Found
from fastbat.results.rows import Group

NORMAL_95 = 1.96
LOG_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


class Mark(NamedTuple):
    """A method in the plane."""

    key: str
    name: str
    x: float
    y: float
    low: float
    high: float
    kind: str  # ra, bad, paper
    source: int
    label: str
    card: int


def planes(groups: Sequence[Group], found: Found, cards: Cards) -> list[dict[str, Any]]:
    """Return the planes of the groups that have costs, each followed by the paper's where that has the same methods."""
    drawn = []
    for group in groups:
        marks = measured(group, cards)
        if len(marks) < 2:
            continue
        relative = all(row.cost.relative for row in group.ranked if row.cost)
        theirs = printed(group, len(found.sources) + 1, cards) if relative else []
        unit = "x FAST-AT" if relative else "seconds"
        span = spanned([*marks, *theirs])
        label = next(row.cells[group.key].label for row in group.ranked if group.key in row.cells)
        words = [group.title if len(groups) > 1 else "", f"eps {group.eps_255:g}" if group.eps_255 else ""]
        title = f"{', '.join(filter(None, words)) or 'All'}: measured here"
        drawn.append({"title": title, "svg": plane(marks, span, f"{label}, %", unit), "paper": False})
        if theirs:
            title = f"eps {group.eps_255:g}: the paper, Table 10, at its own scale"
            drawn.append({"title": title, "svg": plane(theirs, span, f"{label}, %", unit), "paper": True})
    return drawn


def measured(group: Group, cards: Cards) -> list[Mark]:
    """Return the ranked rows of a group that have a cost and the accuracy that ranks them."""
    marks = []
    for row in group.ranked:
        cell = row.cells.get(group.key)
        if cell is None or row.cost is None:
            continue
        label = f"{row.full_name}: {cell.label} {cell.percent:.1f} percent, {row.cost.words}"
        kind = "bad" if row.failed else "ra"
        card = cards.accuracy(row, group.key)
        source = row.trials[0].source + 1
        marks.append(
            Mark(row.id, row.short_name, row.cost.value, cell.percent, cell.low, cell.high, kind, source, label, card)
        )
    return marks


def printed(group: Group, source: int, cards: Cards) -> list[Mark]:
    """Return what Table 10 prints of the methods of a group, if it prints three or more."""
    ours = {cell.method for row in group.ranked for each in row.cells.values() for cell in each.paper}
    metric = {"pgd": "ra_pgd", "aa": "ra_aa"}.get(group.key)
    theirs = [cell for cell in cells() if cell.table == 10 and cell.method in ours]
    times = {cell.method: cell.mean for cell in theirs if cell.metric == "time"}
    robust = {c.method: c for c in theirs if c.metric == metric and c.test_eps == c.train_eps == group.eps_255}
    if len(robust) < 3 or "fast-at" not in times:
        return []
    marks = []
    for method, cell in robust.items():
        x, half = times[method] / times["fast-at"], NORMAL_95 * (cell.std or 0.0)
        name = shown(method)
        label = f"{name}, the paper: {cell.mean:.1f} percent, {x:.1f} times the cost of FAST-AT"
        lines = [
            ("which", f"{SHOWN[group.key]} of {name} at eps {group.eps_255:g}/255, Table 10"),
            ("cost", f"{times[method]:g} minutes of training, FAST-AT {times['fast-at']:g}"),
            ("interval", "1.96 standard deviations over seeds"),
        ]
        card = cards.add(f"{cell.mean:.2f} ± {cell.std or 0:.2f} % at {x:.1f} x", lines, source)
        marks.append(Mark("", name, x, cell.mean, cell.mean - half, cell.mean + half, "paper", source, label, card))
    return marks


def spanned(marks: Sequence[Mark]) -> tuple[Point, Point]:
    """Return the spans of both axes that hold all marks."""
    low, high = min(mark.x for mark in marks), max(mark.x for mark in marks)
    return (low / 1.35, high * 1.6), (0.0, top_with((mark.y for mark in marks), (mark.high for mark in marks)))


def front(marks: Sequence[Mark]) -> list[Mark]:
    """Return the Pareto front by the estimates: no method that costs no more is more robust."""
    best, kept = -1.0, []
    for mark in sorted(marks, key=lambda mark: (mark.x, -mark.y)):
        if mark.y > best:
            best = mark.y
            kept.append(mark)
    return kept


def plane(marks: Sequence[Mark], span: tuple[Point, Point], label: str, unit: str) -> str:
    """Return the drawing of a plane."""
    (low, high), y = span
    plot = Plot(360, 300, (low, high), y, log="x")
    plot.axis_y([tick for tick in range(0, 101, 10) if tick <= y[1]], label)
    fitting = [tick for tick in LOG_TICKS if low <= tick <= high]
    plot.axis_x(fitting, f"training cost, {unit} (log scale)")
    line = front(marks)
    stairs = [(line[0].x, y[0])]
    for mark, following in zip(line, [*(each.x for each in line[1:]), high], strict=True):
        stairs += [(mark.x, mark.y), (following, mark.y)]
    plot.area(stairs, [(high, y[0])], "under").line(stairs[1:], "pareto")
    plot.add(f'<g data-rove="">{"".join(drawn(plot, marks, stairs))}</g>')
    on = ", ".join(mark.name for mark in line)
    return plot.svg(
        "Robust accuracy against training cost", f"{len(marks)} methods; on the front: {on}", "wide", "group"
    )


def drawn(plot: Plot, marks: Sequence[Mark], stairs: Sequence[Point]) -> list[str]:
    """Return each mark with its interval and its name, as a link to its source."""
    places = [(plot.x(mark.x), plot.y(mark.y), mark.name) for mark in marks]
    spans = [(max(plot.y(mark.high), plot.margins.top), plot.y(mark.low)) for mark in marks]
    treads = [(a, b, c) for (a, b), (c, d) in pairwise(stairs[1:]) if b == d]
    taken = [
        *((x - 4, top, x + 4, bottom) for (x, _, _), (top, bottom) in zip(places, spans, strict=True)),
        *((x - 5, y - 5, x + 5, y + 5) for x, y, _ in places),
        *((plot.x(a), plot.y(b) - 2, plot.x(c), plot.y(b) + 2) for a, b, c in treads),
    ]
    bounds = (plot.margins.left + 2, plot.margins.top, plot.width - 2, plot.height - plot.margins.bottom - 2)
    labels = place_labels(places, taken, bounds, 12.5)
    found = []
    for mark, (x, y, _), (to_x, to_y, anchor, far) in zip(marks, places, labels, strict=True):
        sign = {"bad": cross(x, y), "paper": diamond(x, y, "paper")}.get(mark.kind) or disc(x, y, "ra", 3.6)
        name = written(to_x, to_y + 4, mark.name, "name", anchor)
        inside = (leader(x, y, to_x, to_y) if far else "") + plot.interval(x, mark.low, mark.high) + sign + name
        found.append(linked(inside, mark.source, mark.card, mark.key, mark.label))
    return found
