"""Print the table of README.md, and draw methods.svg: robust accuracy against the time of all training steps.

python experiments/methods/draw.py
"""

import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import arms, interval, records, save, table

HERE = Path(__file__).parent
STEPS = arms(HERE.parent / "training-step" / "step-width16.json")
UPDATES = 79  # of an epoch: 10,000 images in batches of 128
REPLAYS = 8  # of FREE-AT, each an update
LOOKS = {  # of a method's point in the figure
    "fast-bat": ("FAST-BAT", "tab:red", "D"),
    "standard": ("standard training, no defence", "tab:gray", "s"),
}
OTHERS = ("other defences", "tab:blue", "o")


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def trials() -> dict[str, dict[str, Any]]:
    """Return the finished trials by method, the cheapest training first."""
    found = {record["trial"]: record for record in records(HERE / "results.jsonl") if record["status"] == "finished"}
    return dict(sorted(found.items(), key=lambda item: seconds(*item)))


def step(name: str) -> dict[str, Any]:
    """Return the measured time of an update of a method."""
    return STEPS["fast-bat, tangent" if name == "fast-bat" else name]


def seconds(name: str, record: dict[str, Any]) -> float:
    """Return what all training steps of a trial take."""
    updates = UPDATES * len(record["epochs"]) * (REPLAYS if name == "free-at" else 1)
    return updates * step(name)["ms"] / 1000


def accuracies(record: dict[str, Any], weights: int) -> list[dict[str, Any]]:
    """Return SA and RA of the best epoch's weights (0) or of the last epoch's (1)."""
    return record["results"][weights]["accuracies"]


def tables() -> str:
    """Return the table of the page."""
    heads = ["method", "SA", "RA-PGD-50-10", "best epoch", "last epoch: SA, RA", "step, x FAST-AT", "all steps, s"]
    return table(heads, (row(name, record) for name, record in trials().items()))


def row(name: str, record: dict[str, Any]) -> list[object]:
    """Return the cells of a method."""
    cells = [interval(each["percent"], each["interval"]) for each in accuracies(record, 0)]
    best = f"{record['results'][0]['settings']['epoch']} of {len(record['epochs'])}"
    last = ", ".join(f"{each['percent']:.1f}" for each in accuracies(record, 1))
    return [name, *cells, best, last, f"{step(name)['over_fast_at']:.2f}", round(seconds(name, record))]


def draw() -> None:
    """Draw a point a method, with the 95 % interval over the draw of the images; names above and below in turn."""
    figure, panel = pyplot.subplots(figsize=(8, 4.4), layout="constrained")
    for i, (name, record) in enumerate(trials().items()):
        x, (_, found) = seconds(name, record), accuracies(record, 0)
        ra, (low, high), (label, color, marker) = found["percent"], found["interval"], LOOKS.get(name, OTHERS)
        bar = {"lw": 1, "capsize": 2}
        panel.errorbar(x, ra, [[ra - low], [high - ra]], fmt=marker, ms=5, color=color, label=label, **bar)
        end, shift, side = (low, -4, "top") if i % 2 else (high, 4, "bottom")
        panel.annotate(name, (x, end), (0, shift), textcoords="offset points", ha="center", va=side, color=color)
    panel.set(xlabel="time of all training steps, seconds (log scale)", xscale="log", xlim=(60, 850))
    panel.set(ylabel="robust accuracy under PGD-50-10, %", ylim=(-1, 37))
    ticks = (75, 100, 150, 200, 300, 400, 600, 800)
    panel.set_xticks(ticks, ticks)
    panel.set_xticks([], minor=True)
    points = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))  # one of each look
    explained = "A point is one training, a bar its 95 % interval over 1,000 test images."
    panel.legend(
        points.values(), points.keys(), title=explained, reverse=True, loc="center", frameon=False, alignment="left"
    )
    save(figure, HERE / "methods.svg")


if __name__ == "__main__":
    main()
