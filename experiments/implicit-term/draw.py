"""Print the table of README.md, and draw term.svg: the term's share of the gradient and validation RA, by epoch.

python experiments/implicit-term/draw.py
"""

import sys
from pathlib import Path
from typing import Any

from compare import row
from matplotlib import pyplot
from pairs import EPS, measured

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from page import records, save, table

HERE = Path(__file__).parent
ARMS = {
    "none": ("none", "black"),
    "c0.1": ("c = 0.1, the paper's", "tab:blue"),
    "c0.1-every8": ("c = 0.1, every 8th step", "tab:cyan"),
    "c1": ("c = 1", "tab:orange"),
    "chain-rule": ("c = a, the chain rule's", "tab:red"),
}
CONTROLS = {16: '"none", not compiled', 8: '"none", other processor'}


def main() -> None:
    """Print the table, and draw the figure."""
    print(tables())
    draw()


def tables() -> str:
    """Return the table of the page."""
    heads = ["eps", "arm", "SA", "less none", "RA-PGD-50-10", "less none", "RA-AA", "less none"]
    heads += ["images changed: SA, PGD, AA, %", "best epochs", "term: first epoch, last, %"]
    return table(heads, (cells(eps, name, row(name, measured(eps))) for eps in EPS for name in (*ARMS, "rounding")))


def cells(eps: int, name: str, found: dict[str, Any]) -> list[object]:
    """Return the cells of an arm."""
    line: list[object] = [eps, ARMS[name][0] if name in ARMS else CONTROLS[eps]]
    for attack in ("clean", "pgd", "aa"):
        line += [f"{found[attack]['percent']:.1f}", difference(found[attack])]
    changed = [found[attack].get("changed_percent") for attack in ("clean", "pgd", "aa")]
    term = [100 * found["term"][place] for place in (0, -1)]
    line.append(", ".join(map(str, changed)) if name != "none" else None)
    line.append(", ".join(map(str, found["best_epoch"])))
    return [*line, ", ".join(f"{each:.0f}" if each > 10 else f"{each:.2g}" for each in term) if any(term) else None]


def difference(found: dict[str, Any]) -> str | None:
    """Return what an arm is above "none", with its interval, or by seed if it has none."""
    if "both" in found:
        return f"{found['above_none']:+.2f} ± {found['both']:.2f}"
    return ", ".join(f"{gain:+.2f}" for gain in found["by_seed"]) if "by_seed" in found else None


def draw() -> None:
    """Draw a row of two panels a budget, a line a seed."""
    figure, panels = pyplot.subplots(len(EPS), 2, figsize=(9, 6.8), layout="constrained")
    for eps, (left, right) in zip(EPS, panels, strict=True):
        for record in records(HERE / f"eps{eps}" / "results.jsonl"):
            if record["status"] != "finished":
                continue
            epochs, (label, color) = record["epochs"], ARMS[record["trial"].rsplit("-seed", 1)[0]]
            at, share, ra = zip(*((e["epoch"], 100 * e.get("term", 0), e["val_ra"]) for e in epochs), strict=True)
            if any(share):
                left.plot(at, share, color=color, label=label, lw=1)
            right.plot(at, ra, color=color, label=label, lw=1)
            best = max(e["epoch"] for e in epochs if e["best"]) - 1
            right.plot(at[best], ra[best], "o", color=color, ms=4)
        right.axhline(10, color="gray", ls=":", lw=1, label="always predicting one class")
        left.set(yscale="log", xlabel="epoch", ylabel="term over the rest (norms), %", title=f"eps {eps}/255")
        right.set(
            xlabel="epoch", ylabel="validation RA (PGD-10), %", title="a line a seed; dots: best epoch", ylim=-0.5
        )
    named = dict(zip(*reversed(panels[0][1].get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), fontsize=8, loc="outside lower center", ncols=3)
    save(figure, HERE / "term.svg")


if __name__ == "__main__":
    main()
