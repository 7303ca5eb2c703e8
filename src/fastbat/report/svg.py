"""Charts as inline SVG: no script, no library; colours and type come from the page's CSS classes.

Every chart is drawn for the narrowest screen (360 units a chart, 200 a small one); a wider screen scales the drawing up
and, by a container query, the text down. Marks have classes named after what they mean (ra, sa, one, ga, bad, paper),
never after a method. Whatever text comes in is escaped here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

from markupsafe import Markup

Point = tuple[float, float]


class Margins(NamedTuple):
    """Room around the plotted area."""

    left: float = 32
    right: float = 10
    top: float = 22
    bottom: float = 34


WIDE = Margins()


def coordinate(value: float) -> str:
    """Return a coordinate to a tenth of a unit, as short as that can be written."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


class Plot:
    """A chart of `width` x `height` units whose x and y run over the spans given."""

    def __init__(self, width: float, height: float, x: Point, y: Point, margins: Margins = WIDE, log: str = "") -> None:
        self.width, self.height, self.margins = width, height, margins
        self.parts: list[str] = []
        self._scale: dict[str, Callable[[float], float]] = {
            axis: (lambda v: math.log(max(v, 1e-12))) if axis in log else float for axis in "xy"
        }
        self.ends = {"x": x, "y": y}
        self._span = {axis: tuple(map(self._scale[axis], span)) for axis, span in self.ends.items()}

    def x(self, value: float) -> float:
        """Return where `value` lies from the left."""
        return self.margins.left + self._share("x", value) * (self.width - self.margins.left - self.margins.right)

    def y(self, value: float) -> float:
        """Return where `value` lies from the top."""
        bottom = self.height - self.margins.bottom
        return bottom - self._share("y", value) * (bottom - self.margins.top)

    def _share(self, axis: str, value: float) -> float:
        low, high = self._span[axis]
        return (self._scale[axis](value) - low) / (high - low)

    def add(self, raw: str) -> "Plot":
        """Add markup; what is text in it is escaped already."""
        self.parts.append(raw)
        return self

    def path(self, kind: str, *points: Point) -> "Plot":
        """Add a straight path through points on the drawing."""
        steps = "L".join(f"{coordinate(a)} {coordinate(b)}" for a, b in points)
        return self.add(f'<path class="{kind}" d="M{steps}"/>')

    def text(self, x: float, y: float, words: str, kind: str, anchor: str = "start") -> "Plot":
        """Add text at a place of the drawing."""
        return self.add(written(x, y, words, kind, anchor))

    def axis_y(self, ticks: Iterable[float], label: str = "") -> "Plot":
        """Add horizontal lines with their values, and the quantity above them."""
        left, right = self.margins.left, self.width - self.margins.right
        for value in ticks:
            self.path("grid", (left, self.y(value)), (right, self.y(value)))
            self.text(left - 5, self.y(value) + 3.5, f"{value:g}", "tick", "end")
        return self.text(0, self.margins.top - 8, label, "axis") if label else self

    def axis_x(self, ticks: Iterable[float], label: str = "", kind: str = "base") -> "Plot":
        """Add the base line with ticks, through the chart where `kind` is grid, and the quantity below its end."""
        base, right = self.height - self.margins.bottom, self.width - self.margins.right
        self.path("base", (self.margins.left, base), (right, base))
        for value in ticks:
            top = self.margins.top if kind == "grid" else base
            self.path(kind, (self.x(value), top), (self.x(value), base + 3))
            self.text(self.x(value), base + 14, f"{value:g}", "tick", "middle")
        return self.text(right, self.height - 1.5, label, "axis", "end") if label else self

    def line(self, points: Sequence[Point], kind: str) -> "Plot":
        """Add a line through points of the data; a single one is a dot."""
        points = [point for point in points if all(map(math.isfinite, point))]
        if len(points) == 1:
            return self.dot(*points[0], f"{kind} alone", 1.6)
        return self.add(f'<polyline class="line {kind}" points="{self.places(points)}"/>') if points else self

    def area(self, upper: Sequence[Point], lower: Sequence[Point], kind: str) -> "Plot":
        """Add the area between two lines of the data."""
        return self.add(f'<polygon class="{kind}" points="{self.places([*upper, *reversed(lower)])}"/>')

    def box(self, x: Point, y: Point, kind: str) -> "Plot":
        """Add a rectangle of the data."""
        left, right, top, bottom = self.x(x[0]), self.x(x[1]), self.y(y[1]), self.y(y[0])
        size = f'width="{coordinate(right - left)}" height="{coordinate(bottom - top)}"'
        return self.add(f'<rect class="{kind}" x="{coordinate(left)}" y="{coordinate(top)}" {size}/>')

    def interval(self, x: float, low: float, high: float) -> str:
        """Return the stroke of an interval of the data, `x` from the left; one that the scale cuts has an arrow."""
        least, most = self.ends["y"]
        top, bottom = self.y(min(high, most)), self.y(max(low, least))
        head = (
            f"M{coordinate(x - 3)} {coordinate(top + 4)}L{coordinate(x)} {coordinate(top)}l3 4" if high > most else ""
        )
        return f'<path class="whisk" d="M{coordinate(x)} {coordinate(top)}V{coordinate(bottom)}{head}"/>'

    def dot(self, x: float, y: float, kind: str, radius: float = 2.8) -> "Plot":
        """Add a disc at a point of the data."""
        return self.add(disc(self.x(x), self.y(y), kind, radius))

    def places(self, points: Iterable[Point]) -> str:
        """Return points of the data as those of a drawing."""
        return " ".join(f"{coordinate(self.x(a))},{coordinate(self.y(b))}" for a, b in points)

    def svg(self, name: str, more: str = "", kind: str = "", role: str = "img") -> Markup:
        """Return the drawing, with a sentence for those who do not see it."""
        label = escape(". ".join(filter(None, (name, more))))
        size = f"0 0 {coordinate(self.width)} {coordinate(self.height)}"
        body = "".join(self.parts)
        return Markup(f'<svg class="plot {kind}" viewBox="{size}" role="{role}" aria-label="{label}">{body}</svg>')


def disc(x: float, y: float, kind: str, radius: float) -> str:
    """Return a disc."""
    return f'<circle class="dot {kind}" cx="{coordinate(x)}" cy="{coordinate(y)}" r="{radius}"/>'


def leader(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a line from a point to its name."""
    return f'<path class="lead" d="M{coordinate(x)} {coordinate(y)}L{coordinate(to_x)} {coordinate(to_y)}"/>'


def written(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Return text at a place of the drawing."""
    at = f'x="{coordinate(x)}" y="{coordinate(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {at}>{escape(words)}</text>'


def linked(inside: str, source: int, card: int, key: str, words: str) -> str:
    """Return a mark as a link to its source, with the card that is shown beside it."""
    about = f'href="#s{source}" data-p="{card}" data-m="{escape(key)}" aria-label="{escape(words)}"'
    return f'<a class="pt" {about}>{inside}</a>'


def diamond(x: float, y: float, kind: str, half: float = 4.6) -> str:
    """Return a diamond."""
    step = coordinate(half)
    start = f"M{coordinate(x)} {coordinate(y - half)}"
    return f'<path class="dot {kind}" d="{start}l{step} {step}l-{step} {step}l-{step} -{step}Z"/>'


def cross(x: float, y: float, half: float = 4) -> str:
    """Return a cross, the mark of what collapsed."""
    wide = coordinate(2 * half)
    start = f"M{coordinate(x - half)} {coordinate(y - half)}"
    return f'<path class="dot bad" d="{start}l{wide} {wide}m0 -{wide}l-{wide} {wide}"/>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about so many round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def top_with(estimates: Iterable[float], highs: Iterable[float]) -> float:
    """Return the end of a scale that holds all `estimates`, and of their intervals what is below 1.5 times the highest.

    The interval of two seeds may run over the whole scale; the estimates would lie in a heap at its foot.
    """
    shown = list(estimates)
    return top_of([*shown, *(min(high, 1.5 * max(shown)) for high in highs)])


def top_of(values: Iterable[float], steps: Sequence[float] = (10, 20, 30, 40, 50, 60, 80, 100)) -> float:
    """Return the end of a scale of percent that holds all `values`."""
    highest = max(values, default=0.0)
    return next((step for step in steps if step >= highest), steps[-1])
