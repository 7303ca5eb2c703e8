"""Catastrophic overfitting: accuracy under PGD against that under one step, and the trainings that collapsed.

A sound network stays near the diagonal; one that has collapsed falls to the lower right, where the guard speaks.
"""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from fastbat.report.curves import by_epoch, once
from fastbat.report.svg import Margins, Plot, coordinate, cross, ticks, top_of
from fastbat.results.rows import Group, Row
from fastbat.results.state import Epochs, collapsed

PANELS = 8  # at most
SIZE = (260, 180)
ABOVE, BELOW = Margins(24, 8, 10, 66), Margins(24, 8, 130, 20)


def phase(groups: Sequence[Group]) -> Markup | None:
    """Return the plane of all epochs of all trainings; None where none was validated under one step and under PGD."""
    runs = [(row, epochs) for group in groups for row in once(group.rows) for epochs in row.runs]
    points = [(epoch, epochs) for _, epochs in runs for epoch in epochs if "val_one_step" in epoch]
    if not points:
        return None
    top = top_of(value for epoch, _ in points for value in (epoch["val_one_step"], epoch["val_ra"]))
    plot = Plot(360, 360, (0, top), (0, top), Margins(30, 10, 22, 34))
    plot.area([(8, 0), *((x, min(x / 2, x - 8)) for x in (16, top))], [(top, 0)], "guard")
    plot.axis_y(ticks(0, top), "accuracy under PGD, %").axis_x(ticks(0, top), "accuracy under one step, %", "grid")
    plot.line([(0, 0), (top, top)], "diagonal")
    plot.text(plot.x(0.93 * top), plot.y(0.95 * top), "PGD = one step", "tick", "end")
    plot.text(plot.x(0.98 * top), plot.y(0.4 * top), "the guard warns here", "tick bad", "end")
    for epoch, epochs in points:
        kind = "dust bad" if epoch["epoch"] in collapsed(epochs) else "dust"
        place = f'cx="{coordinate(plot.x(epoch["val_one_step"]))}" cy="{coordinate(plot.y(epoch["val_ra"]))}"'
        plot.add(f'<circle class="{kind}" {place} r="1.8"/>')
    for row, path in [(row, steps) for row, epochs in runs if row.fallen and len(steps := path_of(epochs)) > 1][:1]:
        plot.line(path, "one")
        for point in path:
            plot.dot(*point, "one", 2.4)
        x, y = path[-1]
        plot.text(plot.x(x), plot.y(y) - 9, row.name, "name one", "middle")
    return plot.svg(
        "Accuracy under PGD against accuracy under one step, an epoch a point",
        "Sound trainings stay near the diagonal; collapsed ones fall to the lower right",
        "wide",
    )


def path_of(epochs: Epochs) -> list[tuple[float, float]]:
    """Return accuracy under one step and under PGD, epoch by epoch."""
    return [(epoch["val_one_step"], epoch["val_ra"]) for epoch in epochs if "val_one_step" in epoch]


def panels(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return a chart for each training that collapsed or was taken back, at most PANELS of them."""
    rows = [(group, row) for group in groups for row in once(group.rows) if row.fallen or taken_back(row.runs)]
    return [panel(group, row) for group, row in rows[:PANELS]]


def taken_back(runs: Sequence[Epochs]) -> bool:
    """Say whether an epoch was taken back after a collapse."""
    return any(epoch.get("discarded") for epochs in runs for epoch in epochs)


def panel(group: Group, row: Row) -> dict[str, Any]:
    """Return the chart of the first seed that collapsed, its gap filled, gradient alignment below where it is known."""
    epochs = next((run for run in row.runs if collapsed(run) or taken_back([run])), row.runs[0])
    last = max(epoch["epoch"] for epoch in epochs)
    both = [epoch for epoch in epochs if "val_one_step" in epoch]
    ra = [(epoch["epoch"], epoch["val_ra"]) for epoch in epochs if "val_ra" in epoch]
    one = [(epoch["epoch"], epoch["val_one_step"]) for epoch in both]
    top = top_of(value for _, value in (*one, *ra))
    span = (0.6, last + 0.4)
    plot = Plot(*SIZE, span, (0, top), ABOVE)
    plot.axis_y(ticks(0, top, 2))
    if one:
        plot.area(one, [(epoch["epoch"], epoch["val_ra"]) for epoch in both], "gap")
    plot.line(one, "one").line(ra, "ra")
    for lost in (each for epoch in epochs for each in epoch.get("discarded", ())):
        x, y = plot.x(lost["epoch"]), plot.y(lost["val_ra"])
        plot.add(cross(x, y, 3.5)).text(x + 6, y - 3, "taken back", "tick")
    if fallen := collapsed(epochs):
        x = plot.x(fallen[0])
        plot.path("mark", (x, plot.margins.top), (x, plot.height - plot.margins.bottom))
        anchor, side = ("end", -3) if x > plot.width / 2 else ("start", 3)
        plot.text(x + side, plot.margins.top + 9, f"guard: epoch {fallen[0]}", "tick bad", anchor)
    below = Plot(*SIZE, span, (0, 1), BELOW)
    below.axis_x([t for t in ticks(1, last, 4) if t == int(t)] or [1])
    if alignment := [(epoch["epoch"], epoch["ga"]) for epoch in epochs if epoch.get("ga") is not None]:
        below.axis_y([0, 1]).line(alignment, "ga")
    plot.parts += below.parts
    words = [f"RA by epoch {', '.join(f'{v:.1f}' for _, v in ra)}", f"one step {', '.join(f'{v:.1f}' for _, v in one)}"]
    eps = f"eps {group.eps_255:g}" if group.eps_255 else ""
    return {
        "name": row.full_name,
        "note": ", ".join(filter(None, (eps, row.state))),
        "svg": plot.svg(f"{row.full_name}, {eps}", "; ".join(words), "mid"),
        "rows": by_epoch([epochs], ("val_ra", "val_one_step", "ga")),
        "geo": [plot.x(1) / SIZE[0], (plot.x(2) - plot.x(1)) / SIZE[0]],
    }
