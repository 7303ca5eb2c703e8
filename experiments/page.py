"""What a page of an experiment shows: a table in markdown, and a figure that is the same file every time."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

pyplot.switch_backend("svg")
pyplot.rcParams["svg.hashsalt"] = "fastbat"


def records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def arms(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a timing wrote, by arm."""
    return {arm["arm"]: arm for arm in json.loads(path.read_text())["arms"]}


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in markdown; None is an empty cell."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines)


def interval(percent: float, ends: Sequence[float]) -> str:
    """Return an accuracy and its 95 % interval."""
    return f"{percent:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"


def save(figure: Figure, path: Path) -> None:
    """Write the figure as SVG, without the date."""
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
