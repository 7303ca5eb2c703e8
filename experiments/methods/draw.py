"""Print the table of README.md, and draw methods.svg: robust accuracy against the time of all training steps.

python experiments/methods/draw.py
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import interval, records, save, table

HERE = Path(__file__).parent
COST = json.loads((HERE / "he-shortcut" / "estimate.json").read_text())
LABELS = {"fast-at-step-1": "fast-at, step 1.0 eps"}
OFFSETS = {
    "fast-at": (-38, 2),
    "fast-at-step-1": (6, -8),
    "yopo": (-26, 2),
    "fast-at-ga": (6, -12),
    "pgd-7": (6, -3),
    "pgd-2": (-34, 0),
}


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def trials() -> dict[str, dict[str, Any]]:
    """Return the records by method, in the order of the cost file."""
    found = {record["trial"]: record for record in records(HERE / "he-shortcut" / "results.jsonl")}
    return {name: found[name] for name in COST["ms_per_step"]}


def updates(name: str) -> int:
    """Return the updates of an epoch."""
    return int(COST["updates_per_epoch_of_free_at" if name == "free-at" else "updates_per_epoch"])


def tables() -> str:
    """Return the table of the page."""
    heads = ["method", "SA", "RA-PGD-50-10", "best epoch", "last epoch: SA, RA", "ms a step", "s an epoch"]
    return table(heads, (row(name, record) for name, record in trials().items()))


def row(name: str, record: dict[str, Any]) -> list[object]:
    """Return the cells of a method."""
    (found,), epochs, ms = record["results"], record["epochs"], COST["ms_per_step"][name]
    cells = [interval(found[kind], found[f"{kind}_interval"]) for kind in ("sa", "ra_pgd")]
    last = ", ".join(f"{epochs[-1][key]:.1f}" for key in ("val_sa", "val_ra") if key in epochs[-1])
    seconds = round(ms * updates(name) / 1000)
    return [LABELS.get(name, name), *cells, f"{found['epoch']} of {len(epochs)}", last, ms, seconds]


def draw() -> None:
    """Draw a point a method, with the 95 % interval over the draw of the images."""
    figure, panel = pyplot.subplots(figsize=(8, 4.4), layout="constrained")
    for name, record in trials().items():
        (found,) = record["results"]
        seconds = COST["ms_per_step"][name] * updates(name) * len(record["epochs"]) / 1000
        low, high = found["ra_pgd_interval"]
        ra = found["ra_pgd"]
        panel.errorbar(seconds, ra, [[ra - low], [high - ra]], fmt="o", ms=5, lw=1, capsize=2)
        panel.annotate(
            LABELS.get(name, name), (seconds, ra), OFFSETS.get(name, (6, 4)), textcoords="offset points", fontsize=8
        )
    panel.set(xscale="log", xlabel="training steps, s in all", ylabel="RA-PGD-50-10, %", ylim=-1, xlim=(70, 1050))
    ticks = (100, 200, 400, 800)
    panel.set_xticks(ticks, ticks)
    panel.set_xticks([], minor=True)
    save(figure, HERE / "methods.svg")


if __name__ == "__main__":
    main()
