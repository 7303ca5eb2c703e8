"""Print the table of README.md, and draw speed.svg: how many times as fast as the plain loop each arm is.

python experiments/evaluation-speed/draw.py
"""

import json
import sys
from pathlib import Path

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import arms, save, table

HERE = Path(__file__).parent
ROWS = {  # file: attack, network
    "pgd-width16": ("PGD-50-10", "FAST-AT, width 16"),
    "pgd-width16-256": ("PGD-50-10", "FAST-AT, width 16"),
    "pgd-width64": ("PGD-50-10", "FAST-AT, width 64"),
    "autoattack-fast-bat": ("AutoAttack", "FAST-BAT, width 16"),
    "autoattack-fast-bat-again": ("AutoAttack", "FAST-BAT, width 16"),
    "autoattack-pgd-7": ("AutoAttack", "PGD-7-AT, width 16"),
    "autoattack-trades": ("AutoAttack", "TRADES, width 16"),
}
KINDS = {
    "plain, input gradients": ("plain, input gradients alone", "tab:gray"),
    "torchattacks": ("torchattacks 3.5.1", "tab:orange"),
    "fastbat float32": ("fastbat, float32", "tab:cyan"),
    "fastbat": ("fastbat, bf16 search", "tab:blue"),
}


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def tables() -> str:
    """Return the table of the page."""
    heads = ["attack", "network", "images", "plain, s", *(f"{label}: x" for label, _ in KINDS.values())]
    heads += ["robust: plain, fastbat", "disagree", "commit"]
    return table(heads, (row(file) for file in ROWS))


def row(file: str) -> list[object]:
    """Return the cells of a measurement; a ratio stands with its seconds."""
    report, found = json.loads((HERE / f"{file}.json").read_text()), arms(HERE / f"{file}.json")
    speeds = [
        f"{found[kind]['speedup']:.2f} ({found[kind]['seconds'][0]:.1f} s)" if kind in found else None for kind in KINDS
    ]
    robust = f"{found['plain']['robust']}, {found['fastbat']['robust']}"
    plain = f"{found['plain']['seconds'][0]:.1f}"
    return [*ROWS[file], report["images"], plain, *speeds, robust, found["fastbat"]["disagree"], report["commit"]]


def draw() -> None:
    """Draw a point an arm, a row a measurement."""
    figure, panel = pyplot.subplots(figsize=(8, 3.4), layout="constrained")
    names = list(ROWS)[::-1]
    for kind, (label, color) in KINDS.items():
        found = [(i, arms(HERE / f"{file}.json").get(kind)) for i, file in enumerate(names)]
        points = [(arm["speedup"], i) for i, arm in found if arm]
        panel.plot(*zip(*points, strict=True), "o", color=color, label=label)
    panel.axvline(1, color="black", lw=1, label="plain, float32")
    images = [json.loads((HERE / f"{file}.json").read_text())["images"] for file in names]
    labels = [f"{', '.join(ROWS[file])}, {n} images" for file, n in zip(names, images, strict=True)]
    panel.set_yticks(range(len(names)), labels, fontsize=8)
    panel.set(xscale="log", xlabel="times as fast as the plain loop", xlim=(0.8, 20))
    ticks = (1, 2, 4, 8, 16)
    panel.set_xticks(ticks, ticks)
    panel.set_xticks([], minor=True)
    panel.grid(axis="y", lw=0.3)
    panel.legend(fontsize=8, loc="center right")
    save(figure, HERE / "speed.svg")


if __name__ == "__main__":
    main()
