"""Print the table of README.md and draw shortcut.svg from results.jsonl: who collapses, by the form of the shortcut.

python experiments/shortcut/draw.py
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib import pyplot

HERE = Path(__file__).parent
METHODS = {"fast-at": "FAST-AT", "cycled": "FAST-AT, momentum cycled", "n-fgsm": "N-FGSM", "pgd-2": "PGD-2-AT"}
FORMS = {"raw": "tab:blue", "preact": "tab:red"}
Arms = dict[tuple[str, int, str], list[dict[str, Any]]]  # (method, eps, form) -> a record a seed


def main() -> None:
    """Print the table, and draw the figure."""
    arms: Arms = defaultdict(list)
    for record in map(json.loads, (HERE / "results.jsonl").open()):
        if record["status"] == "finished":
            name, train = record["trial"].split("-shortcut")[0], record["train"]
            arms[name, train["eps"], train["shortcut"]].append(record)
    print(
        "| eps | method | shortcut | collapsed | last epoch: SA | RA-PGD-50-10 | GA | best epoch: SA | RA-PGD-50-10 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for eps in (16, 8):
        for name, label in METHODS.items():
            for form in FORMS:
                if records := sorted(arms[name, eps, form], key=lambda record: record["train"]["seed"]):
                    print(f"| {eps} | {label} | {form} | {row(records)} |")
    draw(arms)


def row(records: list[dict[str, Any]]) -> str:
    """Return the cells of an arm: in how many seeds the guard saw a collapse, then a figure a seed."""
    fallen = [next((e["epoch"] for e in record["epochs"] if e["collapsed"]), None) for record in records]
    epochs = ", ".join(str(epoch) for epoch in fallen if epoch)
    seen = f"{sum(map(bool, fallen))} of {len(fallen)}" + (f" (epoch {epochs})" if epochs else "")
    cells = [seen, percent(records, "last", 0), percent(records, "last", 1)]
    cells.append(" / ".join(f"{record['epochs'][-1]['ga']:.2f}" for record in records))
    return " | ".join([*cells, percent(records, "best", 0), percent(records, "best", 1)])


def percent(records: list[dict[str, Any]], checkpoint: str, attack: int) -> str:
    """Return an accuracy of each seed's weights `checkpoint`."""
    place = ("best", "last").index(checkpoint)
    return " / ".join(f"{record['results'][place]['accuracies'][attack]['percent']:.1f}" for record in records)


def draw(arms: Arms) -> None:
    """Draw validation accuracy under PGD-10 by epoch: a row a budget, a column a method, a line a seed."""
    pyplot.switch_backend("svg")
    pyplot.rcParams["svg.hashsalt"] = "fastbat"  # the same file every time
    figure, axes = pyplot.subplots(2, 4, figsize=(11, 5), layout="constrained", sharex=True, sharey="row")
    for panels, eps in zip(axes, (16, 8), strict=True):
        for panel, (name, label) in zip(panels, METHODS.items(), strict=True):
            for form, color in FORMS.items():
                for seed, record in enumerate(arms[name, eps, form]):
                    epochs, ra = zip(*((e["epoch"], e["val_ra"]) for e in record["epochs"]), strict=True)
                    panel.plot(epochs, ra, color=color, lw=1.3, label=f"shortcut {form}" if not seed else None)
            panel.set(title=f"{label}, eps {eps}/255", ylim=0)
            panel.title.set_fontsize(9)
        panels[0].set_ylabel("validation RA (PGD-10), %")
    for panel in axes[1]:
        panel.set_xlabel("epoch")
    axes[0][0].legend(fontsize=8)
    figure.savefig(HERE / "shortcut.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
