"""Draw collapse.svg from results.jsonl: accuracy under one step and under PGD by epoch, and gradient alignment."""

import json
from pathlib import Path

from matplotlib import pyplot

HERE = Path(__file__).parent
ARMS = {
    "fast-at-on_collapsewarn": ("FAST-AT, 1.25 eps: warn", "tab:red"),
    "fast-at-on_collapserollback": ("FAST-AT, 1.25 eps: rollback", "tab:green"),
    "step-1": ("FAST-AT, 1.0 eps: warn", "tab:blue"),
}


def main() -> None:
    """Draw the three arms."""
    pyplot.switch_backend("svg")
    pyplot.rcParams["svg.hashsalt"] = "fastbat"  # the same file every time
    trials = {record["trial"]: record for record in map(json.loads, (HERE / "results.jsonl").open())}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, (label, color) in ARMS.items():
        epochs = trials[name]["epochs"]
        at = [epoch["epoch"] for epoch in epochs]
        left.plot(at, [epoch["val_ra"] for epoch in epochs], color=color, label=label)
        left.plot(at, [epoch["val_one_step"] for epoch in epochs], color=color, linestyle=":")
        right.plot(at, [epoch["ga"] for epoch in epochs], color=color, label=label)
        for epoch in epochs:
            for taken in epoch.get("discarded", ()):
                left.plot(taken["epoch"], taken["val_one_step"], "x", color=color)
                left.plot(taken["epoch"], taken["val_ra"], "x", color=color)
    left.set(xlabel="epoch", ylabel="validation accuracy, %", title="PGD-10 (solid), one step (dotted), taken back (x)")
    right.set(xlabel="epoch", ylabel="gradient alignment", title="GA on 500 test images")
    left.legend(fontsize=8)
    figure.savefig(HERE / "collapse.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
