"""Print the table of README.md, and draw leaking.svg: how often the attack's label is predicted.

python experiments/label-leaking/draw.py
"""

import json
import sys
from pathlib import Path

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import save, table

HERE = Path(__file__).parent
HEADS = {
    "clean": "clean",
    "clean, other": "clean: other label",
    "attacked": "attacked",
    "led, own": "led: own label",
    "led, other": "led: other label",
    "moved, own": "moved: own label",
    "moved, other": "moved: other's label",
}
RUNS = {
    "none-seed0": "none, seed 0",
    "none-seed1": "none, seed 1",
    "none-seed2": "none, seed 2",
    "c0.1-seed0": "c = 0.1, seed 0",
    "warm-c0": "c = 0, from a trained network",
    "warm-chain-rule": "c = a, from a trained network",
    "warm-chain-rule-lr0.2": "c = a, from a trained network, peak rate 0.2",
    "chain-rule-seed0": "c = a, seed 0",
    "chain-rule-seed1": "c = a, seed 1",
    "chain-rule-seed2": "c = a, seed 2",
}


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def measured() -> dict[str, dict[str, float]]:
    """Return the percentages by run."""
    return {arm["run"]: arm for arm in json.loads((HERE / "leaking.json").read_text())["arms"]}


def tables() -> str:
    """Return the table of the page."""
    found = measured()
    return table(
        ["run", *HEADS.values()], ([label, *(found[run][key] for key in HEADS)] for run, label in RUNS.items())
    )


def draw() -> None:
    """Draw the other label's share without an attack, under an attack made for it, and with a moved perturbation."""
    figure, panel = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    found, names = measured(), list(RUNS)[::-1]
    for key, color in (("clean, other", "tab:gray"), ("led, other", "tab:red"), ("moved, other", "tab:orange")):
        panel.plot([found[run][key] for run in names], range(len(names)), "o", color=color, label=HEADS[key])
    panel.set_yticks(range(len(names)), [RUNS[run] for run in names], fontsize=8)
    panel.set(xlabel="images on which that label is predicted, %", xlim=(0, 100))
    panel.grid(axis="y", lw=0.3)
    panel.legend(fontsize=8)
    save(figure, HERE / "leaking.svg")


if __name__ == "__main__":
    main()
