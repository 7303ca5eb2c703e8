"""Robust accuracy against eps: of one model attacked at several budgets, and of a method trained at each of them.

Beside it what early stopping is worth: the best epoch's weights against the last one's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from fastbat.report.cards import Cards
from fastbat.report.labels import place_labels
from fastbat.report.svg import Margins, Plot, diamond, disc, linked, ticks, top_with
from fastbat.results.names import shown
from fastbat.results.origin import origin
from fastbat.results.rows import CURVE, Cell, Group, Row, cell_of

NAMES_BESIDE = Margins(right=150)  # room for names to the right of the lines
ROBUST = ("pgd", "aa", "pgd-highest-loss", "fgsm", "square")


class Curve(NamedTuple):
    """A line of a chart: an accuracy at each budget."""

    key: str
    name: str
    points: list[tuple[float, Cell, Row]]
    last: bool = False  # of the last epoch's weights


def budgets(groups: Sequence[Group], cards: Cards) -> list[dict[str, Any]]:
    """Return the charts of accuracy against eps that the records allow."""
    found = []
    attacked = [curve for group in groups for row in group.ranked if (curve := attacked_at(row))]
    if attacked:
        trained = {eps for curve in attacked if (eps := curve.points[0][2].trials[0].eps_255)}
        title = "Attacked at several budgets"
        found.append({"title": title, "svg": chart(attacked, cards, trained.pop() if len(trained) == 1 else None)})
    if each := trained_at(groups):
        title = "Trained against each budget that it is attacked with"
        found.append({"title": title, "svg": chart(each, cards, None)})
    return found


def attacked_at(row: Row) -> Curve | None:
    """Return a row's accuracy at every budget that its weights were attacked with, if there are enough."""
    every = [each for trial in row.trials for each in trial.evaluations if each.checkpoint == row.checkpoint]
    for attack in ROBUST:
        made = sorted({a.eps_255 for each in every for a in each.accuracies if a.attack == attack})
        if len(made) >= CURVE:
            cells = [
                (0.0, row.cells.get("clean")),
                *((e, cell_of(row.trials, row.checkpoint, attack, e)) for e in made),
            ]
            return Curve(row.id, row.full_name, [(eps, cell, row) for eps, cell in cells if cell])
    return None


def trained_at(groups: Sequence[Group]) -> list[Curve]:
    """Return for each arm its accuracy at every budget that it was trained against, where there are enough."""
    arms: dict[tuple[Any, ...], list[tuple[float, Cell, Row]]] = {}
    for group in groups:
        for row in group.rows if group.trained_255 is None else ():
            key = next((name for name in ROBUST if name in row.cells), None)
            if key and row.trials[0].eps_255:
                same = (group.source, row.full_name, row.checkpoint, key)
                arms.setdefault(same, []).append((group.eps_255, row.cells[key], row))
    return [
        Curve(
            points[0][2].id,
            name + (", last epoch" if checkpoint == "last" else ""),
            sorted(points, key=lambda p: p[0]),
            checkpoint == "last",
        )
        for (_, name, checkpoint, _), points in arms.items()
        if len({eps for eps, _, _ in points}) >= CURVE and checkpoint in ("", "best", "last")
    ]


def chart(curves: Sequence[Curve], cards: Cards, trained: float | None) -> Markup:
    """Return the drawing of accuracies against eps with their intervals."""
    label = next(cell.label for curve in curves for eps, cell, _ in curve.points if eps)
    highest = max(eps for curve in curves for eps, _, _ in curve.points)
    cells = [cell for curve in curves for _, cell, _ in curve.points]
    top = top_with((cell.percent for cell in cells), (cell.high for cell in cells))
    plot = Plot(360, 270, (0, 1.02 * highest), (0, top))
    plot.axis_y(ticks(0, top, 5), f"{label}, %").axis_x(ticks(0, highest, 6), "budget eps, of 255")
    if trained:
        x = plot.x(trained)
        plot.path("mark ink", (x, plot.margins.top), (x, plot.height - plot.margins.bottom))
        plot.text(x + 4, plot.margins.top + 10, "trained at", "tick")
    for curve in curves:
        kind = "one" if curve.last else "ra"
        if not curve.last:
            above = [(eps, min(cell.high, top)) for eps, cell, _ in curve.points]
            plot.area(above, [(eps, cell.low) for eps, cell, _ in curve.points], f"band {kind}")
        plot.line([(eps, cell.percent) for eps, cell, _ in curve.points], kind)
    links = [point(plot, curve, eps, cell, row, cards) for curve in curves for eps, cell, row in curve.points]
    plot.add(f'<g data-rove="">{"".join(links)}</g>')
    if len(curves) > 1:
        name_lines(plot, curves)
    names = ", ".join(curve.name for curve in curves)
    return plot.svg("Robust accuracy against the budget", names, "wide", "group")


def point(plot: Plot, curve: Curve, eps: float, cell: Cell, row: Row, cards: Cards) -> str:
    """Return a point of a curve as a link to its source."""
    words = f"{curve.name}, eps {eps:g}/255: {cell.percent:.1f} percent, {cell.low:.1f} to {cell.high:.1f}"
    lines = [
        ("which", f"{cell.label} of {curve.name}" + (f" at eps {eps:g}/255" if eps else "")),
        ("images", f"{cell.n:,}; {len(cell.parts)} seed{'s' * (len(cell.parts) > 1)}"),
    ]
    source = row.trials[0].source + 1
    title = f"{cell.percent:.1f} % [{cell.low:.1f}, {cell.high:.1f}]"
    card = cards.add(title, lines, source, origin(row.trials, cell.measured))
    kind = "one" if curve.last else "ra"
    return linked(disc(plot.x(eps), plot.y(cell.percent), kind, 2.8), source, card, curve.key, words)


def name_lines(plot: Plot, curves: Sequence[Curve]) -> None:
    """Write each curve's name beside it, at the budget where the curves lie furthest apart."""
    common = set.intersection(*({eps for eps, _, _ in curve.points} for curve in curves))
    at = {curve.name: {eps: cell.percent for eps, cell, _ in curve.points} for curve in curves}

    def spread(eps: float) -> float:
        values = [points[eps] for points in at.values()]
        return max(values) - min(values)

    best = max(common, key=spread, default=None)
    places = []
    for curve in curves:
        eps = best if best is not None else curve.points[-1][0]
        places.append((plot.x(eps), plot.y(at[curve.name][eps]), curve.name))
    dots = [(plot.x(e), plot.y(cell.percent)) for curve in curves for e, cell, _ in curve.points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
    write_names(plot, places, taken)


def write_names(plot: Plot, places: Sequence[tuple[float, float, str]], taken: Sequence[Any]) -> None:
    """Write names beside points, with a line where one had to move."""
    bounds = (plot.margins.left + 2, plot.margins.top, plot.width - 2, plot.height - plot.margins.bottom - 2)
    for (x, y, name), (lx, ly, anchor, far) in zip(places, place_labels(places, taken, bounds, 12), strict=True):
        if far:
            plot.path("lead", (x, y), (lx, ly))
        plot.text(lx, ly + 4, name, "name", anchor)


def stack_names(plot: Plot, places: Sequence[tuple[float, float, str]], apart: float = 12.5) -> None:
    """Write names to the right of points that lie below each other, pushed apart, with a line to each."""
    lowest = plot.height - plot.margins.bottom - 2
    ordered = sorted(places, key=lambda place: place[1])
    heights = [y for _, y, _ in ordered]
    for i in range(len(heights) - 1, -1, -1):  # from below, where the chart ends
        heights[i] = min(heights[i], lowest - apart * (len(heights) - 1 - i))
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + apart)
    for (x, y, name), height in zip(ordered, heights, strict=True):
        plot.path("lead", (x + 5, y), (x + 18, height))
        plot.text(x + 21, height + 4, name, "name")


def early_stopping(groups: Sequence[Group], cards: Cards) -> list[dict[str, Any]]:
    """Return a chart for each group with weights of the best and of the last epoch."""
    found = []
    for group in groups:
        rows = {(id(row.trials[0]), row.checkpoint): row for row in group.rows if group.key in row.cells}
        pairs = [
            (row, rows[(one, "last")])
            for (one, which), row in rows.items()
            if which == "best" and (one, "last") in rows
        ]
        if pairs:
            dataset = shown(str(pairs[0][0].trials[0].setting("dataset") or ""))
            eps = f"eps {group.eps_255:g}" if group.eps_255 else ""
            title = ", ".join(filter(None, (group.title or dataset, eps)))
            found.append({"title": title, "svg": slopes(pairs, group.key, cards)})
    return found


def slopes(pairs: Sequence[tuple[Row, Row]], key: str, cards: Cards) -> Markup:
    """Return the drawing of the accuracies of the best and of the last epoch's weights, a line a training."""
    cells = [row.cells[key] for pair in pairs for row in pair]
    paper = [cell.paper[0].mean for cell in cells if cell.paper]
    top = top_with([*(cell.percent for cell in cells), *paper], [cell.high for cell in cells])
    plot = Plot(360, 270, (0, 1), (0, top), NAMES_BESIDE)
    plot.axis_y(ticks(0, top, 5), f"{cells[0].label}, %").axis_x([])
    left, right = 0.2, 0.92
    for share, words in ((left, "best epoch"), (right, "last epoch")):
        plot.text(plot.x(share), plot.height - plot.margins.bottom + 14, words, "tick", "middle")
    links, places = [], []
    for best, last in pairs:
        kind = "bad" if best.failed else "ra"
        plot.line([(left, best.cells[key].percent), (right, last.cells[key].percent)], kind)
        for share, row in ((left, best), (right, last)):
            cell, x = row.cells[key], plot.x(share)
            y = plot.y(cell.percent)
            source, card = row.trials[0].source + 1, cards.accuracy(row, key)
            words = f"{row.full_name}, {'best' if row is best else 'last'} epoch: {cell.percent:.1f} percent"
            inside = plot.interval(x, cell.low, cell.high) + disc(x, y, kind, 3.2)
            links.append(linked(inside, source, card, best.id, words))
        if best.cells[key].paper:
            plot.add(diamond(plot.x(left) - 14, plot.y(best.cells[key].paper[0].mean), "paper", 4.4))
        places.append((plot.x(right), plot.y(last.cells[key].percent), best.short_name))
    plot.add(f'<g data-rove="">{"".join(links)}</g>')
    stack_names(plot, places)
    return plot.svg("Robust accuracy of the best and of the last epoch", f"{len(pairs)} trainings", "wide", "group")
