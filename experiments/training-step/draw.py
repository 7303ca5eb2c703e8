"""Print the table of README.md, and draw step.svg: the time of an update by method, as it is and compiled.

python experiments/training-step/draw.py
"""

import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import arms, save, table

HERE = Path(__file__).parent
WIDTHS = (16, 64)
TERM = [f"fast-bat, {mode}" for mode in ("none", "every 8th", "tangent", "double")]
ORDER = [
    *("standard", "fast-at", "n-fgsm", "pgd-2", "pgd-7", "free-at", "yopo", "atta", "backsmooth", "trades"),
    *("fast-at-ga", *TERM, "fast-at float32", "released float32", "authors float32"),
]


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def tables() -> str:
    """Return the table of the page."""
    heads = ["width", "arm", "passes", "ms", "quartiles", "x FAST-AT", "x faster than released", "over passes x F"]
    heads += ["compiled: ms", "x FAST-AT", "x faster than released", "over passes x F"]
    rows = [
        row(width, name, found) for width in WIDTHS for found in [measured(width)] for name in ORDER if name in found
    ]
    return table(heads, rows)


def measured(width: int) -> dict[str, dict[str, Any]]:
    """Return the arms at a width."""
    return arms(HERE / f"step-width{width}.json")


def row(width: int, name: str, found: dict[str, dict[str, Any]]) -> list[object]:
    """Return the cells of an arm."""
    arm, compiled = found[name], found.get(f"{name} compiled")
    low, high = arm["quartiles_ms"]
    return [width, name, arm["passes"], f"{arm['ms']:.0f}", f"{low:.0f} to {high:.0f}", *ratios(arm)] + (
        [f"{compiled['ms']:.0f}", *ratios(compiled)] if compiled else [None] * 4
    )


def ratios(arm: dict[str, Any]) -> list[object]:
    """Return an arm's three ratios."""
    over, under, passes = (arm[key] for key in ("over_fast_at", "released_over_it", "over_passes"))
    return [f"{over:.2f}", f"{under:.2f}", None if passes is None else f"{passes:.2f}"]


def draw() -> None:
    """Draw the median at width 16 and its quartiles."""
    figure, panel = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
    found = measured(16)
    names = [name for name in ORDER if name in found][::-1]
    for kind, color, shift in (("", "tab:blue", 0.12), (" compiled", "tab:orange", -0.12)):
        own = [(i, found[f"{name}{kind}"]) for i, name in enumerate(names) if f"{name}{kind}" in found]
        at, ms = [i + shift for i, _ in own], [arm["ms"] for _, arm in own]
        spread = zip(
            *((arm["ms"] - arm["quartiles_ms"][0], arm["quartiles_ms"][1] - arm["ms"]) for _, arm in own), strict=True
        )
        panel.errorbar(ms, at, xerr=list(spread), fmt="o", ms=4, lw=1, color=color, label=kind.strip() or "as it is")
    panel.set_yticks(range(len(names)), names, fontsize=8)
    ticks = (100, 200, 400, 800, 1600)
    panel.set(xscale="log", xlabel="ms an update, width 16, batches of 128", xlim=(75, 2000))
    panel.set_xticks(ticks, ticks)
    panel.set_xticks([], minor=True)
    panel.legend(fontsize=8)
    save(figure, HERE / "step.svg")


if __name__ == "__main__":
    main()
