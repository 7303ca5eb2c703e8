"""Print the table of README.md, and draw collapse.svg: accuracy under PGD, and gradient alignment, by epoch and seed.

python experiments/collapse/draw.py
"""

import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import records, save, table

HERE = Path(__file__).parent
ANSWERS = {"warn": "tab:red", "stop": None, "rollback": "tab:green"}  # stop: up to its end the same as warn
SEEDS = range(3)


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def trials() -> dict[tuple[str, int], dict[str, Any]]:
    """Return the finished trials by answer and seed."""
    found = [record for record in records(HERE / "results.jsonl") if record["status"] == "finished"]
    return {(record["train"]["on_collapse"], record["train"]["seed"]): record for record in found}


def tables() -> str:
    """Return the table of the page."""
    heads = ["answer", "seed", "collapsed epochs", "epochs kept", "best: SA", "RA", "last: SA", "RA", "GA, last epoch"]
    found = trials()
    return table(heads, (row(answer, seed, found[answer, seed]) for answer in ANSWERS for seed in SEEDS))


def row(answer: str, seed: int, record: dict[str, Any]) -> list[object]:
    """Return the cells of a trial: its best weights and its last."""
    epochs = record["epochs"]
    shares = [f"{each['percent']:.1f}" for result in record["results"] for each in result["accuracies"]]
    collapsed = ", ".join(str(each["epoch"]) for each in made(record) if each["collapsed"])
    return [answer, seed, collapsed or "none", len(epochs), *shares, f"{epochs[-1]['ga']:.2f}"]


def made(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every epoch in its order, those that were rolled back too."""
    return [each for epoch in record["epochs"] for each in (*epoch.get("discarded", ()), epoch)]


def draw() -> None:
    """Draw a panel a seed; an epoch that was rolled back is a cross."""
    figure, panels = pyplot.subplots(2, 3, figsize=(9, 5), layout="constrained", sharex=True, sharey="row")
    for (answer, seed), record in trials().items():
        if color := ANSWERS[answer]:
            curves(panels[:, seed], record, color, answer)
    for seed, panel in enumerate(panels[0]):
        panel.set(title=f"seed {seed}")
    for panel in panels[1]:
        panel.set(xlabel="epoch")
    panels[0, 0].set(ylabel="PGD-10 (solid),\none step (dotted), %")
    panels[1, 0].set(ylabel="gradient alignment")
    panels[0, 0].legend(fontsize=8)
    save(figure, HERE / "collapse.svg")


def curves(panels: Any, record: dict[str, Any], color: str, label: str) -> None:
    """Draw the validation accuracies of a trial over its gradient alignment."""
    epochs = record["epochs"]
    at = [epoch["epoch"] for epoch in epochs]
    panels[0].plot(at, [epoch["val_ra"] for epoch in epochs], color=color, label=label)
    panels[0].plot(at, [epoch["val_one_step"] for epoch in epochs], color=color, linestyle=":")
    panels[1].plot(at, [epoch["ga"] for epoch in epochs], color=color)
    for taken in (each for epoch in epochs for each in epoch.get("discarded", ())):
        panels[0].plot([taken["epoch"]] * 2, [taken["val_one_step"], taken["val_ra"]], "x", color=color)


if __name__ == "__main__":
    main()
