"""Print the table of README.md, and draw ra.svg: validation accuracy by epoch, clean and under PGD-10.

python experiments/cifar10-he-shortcut/draw.py
"""

import sys
from pathlib import Path

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import interval, records, save, table

HERE = Path(__file__).parent
METHODS = {"fast-at": ("FAST-AT", "tab:red"), "fast-bat": ("FAST-BAT", "tab:blue")}


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def tables() -> str:
    """Return the table of the page."""
    heads = ["eps", "method", "weights", "SA", "RA-PGD-50-10", "RA-AA"]
    return table(heads, (line for eps in (8, 16) for name in METHODS for line in rows(name, eps)))


def rows(name: str, eps: int) -> list[list[object]]:
    """Return the rows of a run: a row an evaluation."""
    found = []
    for result in records(HERE / f"{name}-eps{eps}" / "evaluation.jsonl"):
        cells = [interval(result[kind], result[f"{kind}_interval"]) for kind in ("sa", "ra_pgd", "ra_aa")]
        which = f"{result['checkpoint'].partition('.')[0]} (epoch {result['epoch']})"
        found.append([eps, METHODS[name][0], which, *cells])
    return found


def draw() -> None:
    """Draw a panel a budget."""
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    for panel, eps in zip(panels, (8, 16), strict=True):
        for name, (label, color) in METHODS.items():
            epochs = records(HERE / f"{name}-eps{eps}" / "metrics.jsonl")
            at = [epoch["epoch"] for epoch in epochs]
            panel.plot(at, [epoch["val_ra"] for epoch in epochs], color=color, label=f"{label}, RA")
            panel.plot(at, [epoch["val_sa"] for epoch in epochs], color=color, linestyle=":", label=f"{label}, SA")
        panel.set(xlabel="epoch", title=f"eps {eps}/255", ylim=-1)
    panels[0].set_ylabel("validation accuracy, %")
    panels[0].legend(fontsize=8)
    save(figure, HERE / "ra.svg")


if __name__ == "__main__":
    main()
