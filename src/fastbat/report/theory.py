"""The paper's Appendix E as it was measured: gradients of mini-batches beside that of all images, and their decay."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from fastbat.report.budget import stack_names
from fastbat.report.svg import Margins, Plot
from fastbat.results.gradients import gradient_lines
from fastbat.results.names import counted, shown
from fastbat.results.read import Found
from fastbat.results.rows import Group
from fastbat.results.table import Line

BESIDE = Margins(left=46, right=120)  # room for names to the right of the lines


def theory(found: Found, groups: Sequence[Group]) -> dict[str, Any] | None:
    """Return what the page shows of Appendix E; None where nothing of it was measured."""
    lines = gradient_lines(found, groups)
    if not lines:
        return None
    arms = [(name, list(each)) for name, each in groupby(lines, key=name_of)]
    return {
        "noise": [row for name, each in arms for row in noise(name, each)],
        "decays": [decay(name, each) for name, each in arms if any(line["what"] == "mean_square" for line in each)],
    }


def name_of(line: Line) -> str:
    """Return whose gradients a line is about."""
    told = ", ".join(filter(None, (line["arm"], shown(line["weights"]))))
    return f"{shown(line['method'])} on {shown(line['dataset'])}, {told}"


def noise(name: str, lines: Sequence[Line]) -> list[dict[str, str]]:
    """Return a row for each c and size of mini-batches: bias and standard deviation beside the gradient's norm."""
    at: dict[tuple[str, int], dict[str, Line]] = {}
    for line in lines:
        if line["steps"] is None and line["what"] != "slope":
            at.setdefault((line["c"], line["batch"]), {})[line["what"]] = line
    return [
        {
            "name": name,
            "c": c,
            "batch": f"{batch:,}",
            "n": f"{each['bias']['n']:,}",
            "bias": f"{100 * each['bias']['mean'] / each['gradient']['mean']:.1f} %",
            "error": f"{100 * each['bias_error']['mean'] / each['gradient']['mean']:.1f} %",
            "spread": f"{100 * each['variance']['mean'] ** 0.5 / each['gradient']['mean']:.0f} %",
            "seeds": counted(len(each["bias"]["seeds"]), "seed"),
        }
        for (c, batch), each in at.items()
    ]


def decay(name: str, lines: Sequence[Line]) -> dict[str, Any]:
    """Return the chart of the mean squared gradient against the steps, with the slope of each line."""
    curves: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for line in lines:
        if line["what"] == "mean_square":
            curves.setdefault((line["c"], line["batch"]), []).append((line["steps"], line["mean"]))
    slopes = {(line["c"], line["batch"]): line for line in lines if line["what"] == "slope"}
    rows = [
        {
            "name": name, "c": c, "batch": words_of(batch, lines), "slope": slope_in_words(slopes.get((c, batch))),
            "values": "; ".join(f"{steps:,}: {value:.3g}" for steps, value in path),
        }
        for (c, batch), path in curves.items()
    ]  # fmt: skip
    return {"name": name, "svg": chart(name, curves, lines), "rows": rows}


def words_of(batch: int, lines: Sequence[Line]) -> str:
    """Return in words how many images an update has."""
    return "all images" if batch == lines[0]["n"] else f"{batch} images"


def slope_in_words(line: Line | None) -> str:
    """Return a slope with its interval over seeds."""
    if line is None:
        return "not finite everywhere"
    interval = "" if line["low"] is None else f" [{line['low']:.2f}, {line['high']:.2f}]"
    return f"{line['mean']:.2f}{interval}".replace("-", "\u2212")


def chart(name: str, curves: dict[tuple[str, int], list[tuple[float, float]]], lines: Sequence[Line]) -> Markup:
    """Return the lines on logarithmic axes, with the slope of 1/sqrt(T) to compare with."""
    every = [point for path in curves.values() for point in path]
    steps, values = sorted({x for x, _ in every}), sorted(y for _, y in every)
    span = (values[0] / 1.5, values[-1] * 1.5)
    plot = Plot(360, 270, (steps[0] / 1.2, steps[-1] * 1.2), span, BESIDE, log="xy")
    plot.axis_y(powers(*span), "mean squared gradient (log scale)").axis_x(steps, "steps T (log scale)")
    guide = [(x, values[-1] * (steps[0] / x) ** 0.5) for x in steps]
    plot.line(guide, "one")
    places = [(plot.x(guide[-1][0]), plot.y(guide[-1][1]), "as 1/\u221aT")]
    for (c, batch), path in curves.items():
        plot.line(path, "ra")
        places.append((plot.x(path[-1][0]), plot.y(path[-1][1]), f"c = {c}, {words_of(batch, lines)}"))
    stack_names(plot, places)
    return plot.svg(f"Mean squared gradient against the steps, {name}", ", ".join(place[2] for place in places), "wide")


def powers(low: float, high: float) -> list[float]:
    """Return the powers of ten between two ends; both ends where there is none."""
    found = [10.0**i for i in range(-12, 13) if low <= 10.0**i <= high]
    return found or [low, high]
