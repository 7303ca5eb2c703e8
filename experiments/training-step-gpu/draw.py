"""Print the table of README.md, and draw gpu.svg: an update as it is, and replayed from a CUDA graph.

python experiments/training-step-gpu/draw.py
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import arms, save, table

HERE = Path(__file__).parent
WIDTHS = ("16", "64")
CAPTURED = json.loads((HERE / "captured.json").read_text())["ms"]
KINDS = ("fast-at", "fast-bat, none", "fast-bat, every 8th", "fast-bat, tangent", "fast-bat, double")
NAMES = [
    *("F", "F float32", *KINDS),
    *(f"{name} compiled" for name in KINDS if name != "fast-bat, double"),
    *("fast-at float32", "released float32"),
]


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def tables() -> str:
    """Return the table of the page."""
    found = {width: arms(HERE / f"cuda-width{width}.json") for width in WIDTHS}
    measures = ("ms [quartiles]", "x FAST-AT", "x faster than released", "second run: ms, captured ms")
    heads = ["arm", *(f"width {width}: {measure}" for width in WIDTHS for measure in measures)]
    return table(
        heads,
        ([name, *(cell for width in WIDTHS for cell in cells(name, width, found[width][name]))] for name in NAMES),
    )


def cells(name: str, width: str, arm: dict[str, Any]) -> list[str | None]:
    """Return the cells of an arm at a width."""
    low, high = arm["quartiles_ms"]
    taken = CAPTURED.get(name, {}).get(width)
    forward = name.startswith("F")
    return [
        f"{arm['ms']:.1f} [{low:.1f}, {high:.1f}]",
        None if forward else f"{arm['over_fast_at']:.2f}",
        None if forward else f"{arm['released_over_it']:.2f}",
        f"{taken[0]}, {taken[1]}" if taken else None,
    ]


def draw() -> None:
    """Draw both medians of the second run, by arm and width."""
    figure, panel = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    rows = [(name, width) for name in CAPTURED for width in WIDTHS if width in CAPTURED[name]][::-1]
    for place, (label, color) in enumerate((("as it is", "tab:blue"), ("replayed from a CUDA graph", "tab:green"))):
        panel.plot(
            [CAPTURED[name][width][place] for name, width in rows], range(len(rows)), "o", color=color, label=label
        )
    panel.set_yticks(range(len(rows)), [f"{name}, width {width}" for name, width in rows], fontsize=8)
    panel.set(xlabel="ms an update, batches of 128, H200", xlim=0)
    panel.grid(axis="y", lw=0.3)
    panel.legend(fontsize=8)
    save(figure, HERE / "gpu.svg")


if __name__ == "__main__":
    main()
