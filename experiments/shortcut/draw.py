"""Print the tables of README.md and draw shortcut.svg from results.jsonl: who collapses, by the form of the shortcut.

python experiments/shortcut/draw.py
"""

import sys
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import records, save, table

HERE = Path(__file__).parent
METHODS = {"fast-at": "FAST-AT", "cycled": "FAST-AT, momentum cycled", "n-fgsm": "N-FGSM", "pgd-2": "PGD-2-AT"}
FORMS = {"raw": "tab:blue", "preact": "tab:red"}
BUDGETS = (8, 16)
Trial = dict[str, Any]


def main() -> None:
    """Print the tables, and draw the figure."""
    print(tables())
    draw()


def arm(method: str, eps: int, form: str) -> list[Trial]:
    """Return the finished trials of an arm, by seed."""
    name = f"{method}-shortcut{form}-eps{eps}-"
    found = [each for each in records(HERE / "results.jsonl") if each["trial"].startswith(name)]
    return sorted((each for each in found if each["status"] == "finished"), key=lambda each: each["train"]["seed"])


def tables() -> str:
    """Return both tables: how many collapsed, and what each seed measures."""
    rows = list(product(BUDGETS, METHODS))
    counts = ([eps, METHODS[name], *(collapsed(arm(name, eps, form)) for form in FORMS)] for eps, name in rows)
    heads = ["eps", "method", "shortcut", "in epoch", "last: SA", "RA-PGD-50-10", "GA", "best: SA", "RA-PGD-50-10"]
    seeds = ([eps, METHODS[name], form, *cells(arm(name, eps, form))] for eps, name in rows for form in FORMS)
    return table(["eps", "method", "raw", "preact"], counts) + "\n\n" + table(heads, seeds)


def collapsed(trials: list[Trial]) -> str:
    """Return in how many trials the guard saw a collapse."""
    return f"{sum(map(bool, map(first_collapse, trials)))} of {len(trials)}"


def first_collapse(trial: Trial) -> int | None:
    """Return the first epoch in which the guard saw a collapse."""
    return next((epoch["epoch"] for epoch in trial["epochs"] if epoch["collapsed"]), None)


def cells(trials: list[Trial]) -> list[str]:
    """Return the cells of an arm, a figure a seed in each."""
    epochs = [str(first_collapse(trial) or "-") for trial in trials]
    alignment = [f"{trial['epochs'][-1]['ga']:.2f}" for trial in trials]
    best, last = ([[percent(trial, at, attack) for trial in trials] for attack in (0, 1)] for at in (0, 1))
    return [" / ".join(each) for each in (epochs, *last, alignment, *best)]


def percent(trial: Trial, checkpoint: int, attack: int) -> str:
    """Return an accuracy of the best (0) or the last (1) weights, without (0) or under attack (1)."""
    return f"{trial['results'][checkpoint]['accuracies'][attack]['percent']:.1f}"


def draw() -> None:
    """Draw validation accuracy under PGD-10 by epoch: a row a budget, a column a method, a line a seed."""
    figure, axes = pyplot.subplots(2, 4, figsize=(11, 5), layout="constrained", sharex=True, sharey="row")
    for panel, (eps, name) in zip(axes.flat, product(BUDGETS, METHODS), strict=True):
        for form, color in FORMS.items():
            for seed, trial in enumerate(arm(name, eps, form)):
                epochs, ra = zip(*((e["epoch"], e["val_ra"]) for e in trial["epochs"]), strict=True)
                panel.plot(epochs, ra, color=color, lw=1.3, label=f"shortcut {form}" if not seed else None)
        panel.set_title(f"{METHODS[name]}, eps {eps}/255", fontsize=9)
    for panel in axes[:, 0]:
        panel.set_ylim(bottom=0)
        panel.set_ylabel("validation RA (PGD-10), %")
    for panel in axes[1]:
        panel.set_xlabel("epoch")
    axes[0][0].legend(fontsize=8)
    save(figure, HERE / "shortcut.svg")


if __name__ == "__main__":
    main()
