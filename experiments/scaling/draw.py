"""Print the tables of README.md, and draw scaling.svg: images/s by batch size, on one thread and on two.

python experiments/scaling/draw.py
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import save, table

HERE = Path(__file__).parent
THREADS, SIZES = (1, 2), (32, 128, 512)
COLORS = {"fast-at": "tab:red", "fast-bat, none": "tab:cyan", "fast-bat, tangent": "tab:blue"}
Arms = dict[tuple[str, int, int], dict[str, Any]]  # by method, threads and images of a batch


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def measured() -> Arms:
    """Return the arms."""
    found = json.loads((HERE / "scaling.json").read_text())["arms"]
    return {(arm["method"], arm["threads"], arm["batch"]): arm for arm in found}


def tables() -> str:
    """Return the tables of the page."""
    found = measured()
    cases = [(threads, size) for size in SIZES for threads in THREADS]
    heads = ["images/s", *(f"batch {size}, {threads} thread{'s' * (threads > 1)}" for threads, size in cases)]
    rows = [[name, *(found[name, *case]["images_per_second"] for case in cases)] for name in COLORS]
    heads_of_processes = ["processes", "threads of each", "method", "ms an update", "images/s over one process's"]
    return f"{table(heads, rows)}\n\n{table(heads_of_processes, processes())}"


def processes() -> list[list[object]]:
    """Return the rows of the table on processes."""
    found = json.loads((HERE / "processes.json").read_text())["arms"]
    return [
        [
            arm["processes"],
            arm["threads_each"],
            arm["method"],
            "{:.0f} [{:.0f}, {:.0f}]".format(arm["ms"], *arm["quartiles_ms"]),
            f"{arm['over_one_process']:.2f}",
        ]
        for arm in found
    ]


def draw() -> None:
    """Draw a line a method and number of threads."""
    figure, panel = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    found = measured()
    for name, color in COLORS.items():
        for threads in THREADS:
            own = [found[name, threads, size] for size in SIZES]
            speed = [arm["images_per_second"] for arm in own]
            label = f"{name}, {threads} thread{'s' * (threads > 1)}"
            panel.plot(SIZES, speed, {1: "o:", 2: "o-"}[threads], color=color, ms=4, label=label)
    panel.set(xscale="log", xlabel="images of a batch", ylabel="images/s", ylim=0)
    panel.set_xticks(SIZES, SIZES)
    panel.set_xticks([], minor=True)
    panel.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    save(figure, HERE / "scaling.svg")


if __name__ == "__main__":
    main()
