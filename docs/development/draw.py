"""Draw architecture.svg: the rooms of the source in their layers, and which room imports which.

Layers and descriptions are those of pyproject.toml and CONTRIBUTING.md; arrows are the imports in src/fastbat. One is
left out if others imply it, or if it leads to one of the lowest rooms, which all may use.

python docs/development/draw.py
"""

import ast
import re
import tomllib
from collections.abc import Iterable
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "fastbat"
LOWEST = 3  # layers at the bottom that all may use: a line each, without arrows
COLUMNS = {
    "suite": 0, "curves": 2, "audit": 0, "paper": 2, "methods": 0, "evaluation": 2, "implicit": 0, "geometry": 0,
    "models": 2,
}  # fmt: skip  # 1, the middle, for others

WIDTH, BOX, ROW, PITCH, COLUMN, TEXT = 900, 120, 34, 60, 150, 470  # a row and a column with their gaps; descriptions


def main() -> None:
    """Draw."""
    (Path(__file__).parent / "architecture.svg").write_text(drawing())


def layers() -> list[list[str]]:
    """Return the rooms by layer, from the top; without the door, __main__."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = [[room.strip() for room in layer.split("|")] for layer in contracts[0]["layers"]]
    return [layer for layer in found if layer != ["__main__"]]


def descriptions() -> dict[str, str]:
    """Return what CONTRIBUTING.md says of each layer, by its first room."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## The layers")[2].partition("\n## ")[0]
    return {
        names.split(",")[0]: what for names, what in re.findall(r"^ {4}(\w+(?:, \w+)*) +(\S.*)$", text, re.MULTILINE)
    }


def imports(rooms: Iterable[str]) -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    rooms, found = list(rooms), {}
    for room in rooms:
        files = [SOURCE / f"{room}.py"] if (SOURCE / f"{room}.py").exists() else sorted((SOURCE / room).rglob("*.py"))
        modules = {module for file in files for module in named(ast.parse(file.read_text()))}
        found[room] = (modules & set(rooms)) - {room}
    return found


def named(tree: ast.Module) -> set[str]:
    """Return the rooms of fastbat that a file's imports name."""
    names = [f"{node.module}.{alias.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             for alias in node.names]  # fmt: skip
    return {name.split(".")[1] for name in names if name.startswith("fastbat.")}


def arrows(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the imports that no chain of others implies."""

    def leads(start: str, end: str) -> bool:
        return any(room == end or leads(room, end) for room in graph[start])

    return [
        (start, end)
        for start, ends in graph.items()
        for end in sorted(ends)
        if not any(leads(between, end) for between in ends - {end})
    ]


def drawing() -> str:
    """Return the picture as SVG."""
    rows, says = layers(), descriptions()
    upper, lower = rows[:-LOWEST], rows[-LOWEST:]
    tops = {room: 20 + row * PITCH for row, layer in enumerate(rows) for room in layer}
    places = {room: (80 + COLUMN * COLUMNS.get(room, 1), tops[room]) for layer in upper for room in layer}
    parts = [arrow(places[start], places[end]) for start, end in arrows(imports(places))]
    parts += [box(room, *place) for room, place in places.items()]
    parts += [lines(TEXT, tops[layer[0]] + ROW / 2, [says[room] for room in layer if room in says]) for layer in upper]
    parts += [line_of(layer, tops[layer[0]], says.get(layer[0], "all may use them")) for layer in lower]
    height = 20 + len(rows) * PITCH
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">
<style>
text {{ font: 14px system-ui, sans-serif; fill: #333 }} .name {{ font-weight: 600; fill: #1a237e }}
.box {{ fill: #e8edfb; stroke: #4051b5 }} .low {{ fill: #f1f1f1; stroke: #999 }}
.arrow {{ fill: none; stroke: #666; stroke-width: 1.4; marker-end: url(#head) }}
</style>
<defs><marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">
<path d="M1,1 L8,4 L1,7" fill="none" stroke="#666"/></marker></defs>
<rect width="{WIDTH}" height="{height}" rx="8" fill="#fff"/>
{chr(10).join(parts)}
</svg>
"""


def box(room: str, x: float, y: float) -> str:
    """Return the box of a room, with its name."""
    rectangle = f'<rect x="{x - BOX / 2:g}" y="{y}" width="{BOX}" height="{ROW}" rx="6" class="box"/>'
    return rectangle + text(x, y + ROW / 2, room, 'class="name" text-anchor="middle"')


def line_of(layer: list[str], y: float, says: str) -> str:
    """Return a layer of the lowest rooms."""
    rectangle = f'<rect x="20" y="{y}" width="{WIDTH - 40}" height="{ROW}" rx="6" class="low"/>'
    return rectangle + text(36, y + ROW / 2, f"{', '.join(layer)}: {says}")


def lines(x: float, y: float, says: list[str]) -> str:
    """Return what is said of a layer, on two lines if it has two parts."""
    parts = [part for each in says for part in each.split("; ")]
    return "".join(text(x, y + 18 * (i - (len(parts) - 1) / 2), part) for i, part in enumerate(parts))


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return a line of text, centred on y."""
    return f'<text x="{x:g}" y="{y:g}" dominant-baseline="central" {more}>{escape(words)}</text>'


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return an arrow from a box to a lower one; over several rows it runs between two columns."""
    (x, y), (to, below) = start, end
    y += ROW
    if to == x or below - y < PITCH:
        way = f"M{x:g},{y:g} C{x:g},{below:g} {to:g},{y:g} {to:g},{below:g}"
    else:
        lane = x + COLUMN / 2 * (1 if to > x else -1)
        way = f"M{x:g},{y:g} C{x:g},{y + 20:g} {lane:g},{y + 6:g} {lane:g},{y + 26:g} L{lane:g},{below - 26:g} "
        way += f"C{lane:g},{below - 6:g} {to:g},{below - 20:g} {to:g},{below:g}"
    return f'<path d="{way}" class="arrow"/>'


if __name__ == "__main__":
    main()
