"""Print the table of README.md, and draw collapse.svg: accuracy under one step and PGD, and gradient alignment.

python experiments/collapse/draw.py
"""

import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import interval, records, save, table

HERE = Path(__file__).parent
ARMS = {
    "fast-at-on_collapsewarn": ("1.25 eps, warn", "tab:red"),
    "fast-at-on_collapsestop": ("1.25 eps, stop", None),  # up to its end the same as warn
    "fast-at-on_collapserollback": ("1.25 eps, rollback", "tab:green"),
    "step-1": ("1.0 eps, warn", "tab:blue"),
}


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def trials() -> dict[str, dict[str, Any]]:
    """Return the records by trial."""
    return {record["trial"]: record for record in records(HERE / "he-shortcut" / "results.jsonl")}


def tables() -> str:
    """Return the table of the page."""
    heads = ["step, answer", "epochs kept", "first collapsed epoch", "weights", "SA", "RA-PGD-50-10", "GA, last epoch"]
    found = trials()
    return table(heads, (line for name in ARMS for line in rows(ARMS[name][0], found[name])))


def rows(label: str, record: dict[str, Any]) -> list[list[object]]:
    """Return the rows of a trial: its best weights, and its last."""
    epochs = record["epochs"]
    kept_and_not = [each for epoch in epochs for each in (*epoch.get("discarded", ()), epoch)]
    first = next(epoch["epoch"] for epoch in kept_and_not if epoch["collapsed"])
    found = []
    for weights, result in zip(("best", "last"), record["results"], strict=True):
        cells = [interval(each["percent"], each["interval"]) for each in result["accuracies"]]
        which = f"{weights} (epoch {result['settings']['epoch']})"
        found.append([label, len(epochs), first, which, *cells, f"{epochs[-1]['ga']:.2f}"])
    return found


def draw() -> None:
    """Draw a line an arm; an epoch that was rolled back is a cross."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    found = trials()
    for name, (label, color) in ARMS.items():
        if color is None:
            continue
        epochs = found[name]["epochs"]
        at = [epoch["epoch"] for epoch in epochs]
        left.plot(at, [epoch["val_ra"] for epoch in epochs], color=color, label=label)
        left.plot(at, [epoch["val_one_step"] for epoch in epochs], color=color, linestyle=":")
        right.plot(at, [epoch["ga"] for epoch in epochs], color=color, label=label)
        for epoch in epochs:
            for taken in epoch.get("discarded", ()):
                left.plot(taken["epoch"], taken["val_one_step"], "x", color=color)
                left.plot(taken["epoch"], taken["val_ra"], "x", color=color)
    left.set(
        xlabel="epoch", ylabel="validation accuracy, %", title="PGD-10 (solid), one step (dotted), rolled back (x)"
    )
    right.set(xlabel="epoch", ylabel="gradient alignment", title="GA on 500 test images")
    left.legend(fontsize=8)
    save(figure, HERE / "collapse.svg")


if __name__ == "__main__":
    main()
