"""Print the tables of README.md, and draw weight.svg: training loss and validation RA by epoch.

    python experiments/chain-rule-weight/draw.py

The trainings from scratch are those of ../implicit-term. "PGD leaves" counts, of the images that AutoAttack ran on,
those that PGD-50-10 leaves classified correctly. Differences of the trainings from a trained network are paired, with
95 % intervals over the draw of the images (`fastbat.evaluation.paired`).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot

from fastbat.evaluation import paired

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import records, save, table

HERE = Path(__file__).parent
EPS = (16, 8)
WARM = {"c0": "c = 0", "chain-rule": "c = a", "chain-rule-lr0.2": "c = a"}


def main() -> None:
    """Print the tables, and draw the figure."""
    print(tables())
    draw()


def trials(eps: int, name: str) -> list[dict[str, Any]]:
    """Return the records of an arm at a budget, by seed."""
    found = records(HERE.parent / "implicit-term" / f"eps{eps}" / "results.jsonl")
    own = [record for record in found if record["trial"].rsplit("-seed", 1)[0] == name]
    return sorted(own, key=lambda record: int(record["train"]["seed"]))


def tables() -> str:
    """Return the tables of the page: from scratch, and from a trained network."""
    return from_scratch() + "\n\n" + from_trained()


def from_scratch() -> str:
    """Return the table of c = a from scratch, with the final loss of "none" beside it."""
    heads = [
        "eps",
        "seed",
        "best epoch",
        "validation RA",
        "SA",
        "RA-PGD-50-10",
        "PGD leaves, of 500",
        "AutoAttack leaves",
    ]
    heads += ["term over the rest", "last loss", "last loss of none", "red flags"]
    pairs = [(eps, *both) for eps in EPS for both in zip(trials(eps, "chain-rule"), trials(eps, "none"), strict=True)]
    return table(heads, (scratch(*pair) for pair in pairs))


def scratch(eps: int, record: dict[str, Any], none: dict[str, Any]) -> list[object]:
    """Return the row of a seed."""
    epochs, (on_pgd, on_aa) = record["epochs"], record["results"]
    best = max((epoch for epoch in epochs if epoch["best"]), key=lambda epoch: int(epoch["epoch"]))
    (clean, pgd), aa = on_pgd["accuracies"], on_aa["accuracies"][-1]
    term = [epoch["term"] for epoch in epochs]
    flags = ", ".join(on_aa["red_flags"]) or "none raised"
    return [
        *(eps, record["train"]["seed"], best["epoch"], f"{best['val_ra']:.1f}"),
        *(f"{clean['percent']:.1f}", f"{pgd['percent']:.1f}", robust(pgd)[: aa["n"]].sum(), robust(aa).sum()),
        *(f"{min(term):.1f} to {max(term):.1f}", f"{epochs[-1]['loss']:.2f}", f"{none['epochs'][-1]['loss']:.2f}"),
        "not judged" if on_aa["not_judged"] else flags,
    ]


def robust(accuracy: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return (N,), which images are classified correctly under the attack."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(accuracy["mask"]), np.uint8))[: accuracy["n"]]


def from_trained() -> str:
    """Return the table of three more epochs from a trained network."""
    heads = ["three more epochs", "peak learning rate", "SA", "less c = 0", "RA-PGD-50-10", "less c = 0"]
    heads += ["RA-AA", "less c = 0", "term over the rest, %"]
    base = accuracies("c0")
    rows = []
    for run, label in WARM.items():
        rate = next(line for line in (HERE / "warm" / run / "config.toml").read_text().splitlines() if "max_lr" in line)
        row: list[object] = [label, rate.partition("= ")[2]]
        for attack, found in accuracies(run).items():
            row.append(f"{found['percent']:.1f}")
            low, high = paired(found["mask"], base[attack]["mask"], found["n"])[1:]
            gain = found["percent"] - base[attack]["percent"]
            row.append(None if run == "c0" else f"{gain:+.1f} [{low:+.2f}, {high:+.2f}]")
        term = [100 * epoch.get("term", 0) for epoch in records(HERE / "warm" / run / "metrics.jsonl")]
        rows.append([*row, f"{min(term):.1f} to {max(term):.1f}" if any(term) else None])
    return table(heads, rows)


def accuracies(run: str) -> dict[str, dict[str, Any]]:
    """Return the accuracies of a run from a trained network, by attack: SA and RA-PGD of 1,000 images, RA-AA of 500."""
    on_pgd, on_aa = records(HERE / "warm" / run / "evaluation.jsonl")
    return {each["attack"]: each for each in (*on_pgd["accuracies"], on_aa["accuracies"][-1])}


def draw() -> None:
    """Draw the trainings from scratch, a line a seed."""
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for key, panel, label in zip(
        ("loss", "val_ra"), panels, ("training loss under attack", "validation RA (PGD-10), %"), strict=True
    ):
        for name, what in (("none", "none"), ("chain-rule", "c = a")):
            for eps, color in ((16, "tab:red"), (8, "tab:blue")):
                for seed, record in enumerate(trials(eps, name)):
                    at = [epoch["epoch"] for epoch in record["epochs"]]
                    style = {"none": ":", "chain-rule": "-"}[name]
                    named = None if seed else f"{what}, eps {eps}/255"
                    panel.plot(at, [epoch[key] for epoch in record["epochs"]], style, color=color, lw=1, label=named)
        panel.set(xlabel="epoch", ylabel=label, ylim=0)
    panels[0].legend(fontsize=8)
    save(figure, HERE / "weight.svg")


if __name__ == "__main__":
    main()
