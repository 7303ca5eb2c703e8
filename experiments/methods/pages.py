"""Write "Measured here" into each page of docs/methods, and draw its figure: accuracy by epoch over the other methods'.

python experiments/methods/pages.py
"""

import re
import sys
from pathlib import Path

from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parents[1]))  # experiments/: what the scripts share
from draw import accuracies, step, trials  # of this folder

from page import interval, save, table

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "methods"
NETWORK = "the paper's network at width 16, 10,000 images of CIFAR-10"
PAPERS = " The paper has width 64, 50,000 images, 20 epochs."
PAGES = {name: [name] for name in trials() if name not in ("pgd-2", "pgd-7")} | {"pgd-at": ["pgd-2", "pgd-7"]}

# (eps, SA, RA-PGD-50-10, RA-AA) of the paper's Table 10, and minutes of a training; PGD-2: Table 2
PAPER = {
    "fast-bat": [(8, 79.97, 48.83, 45.19), (16, 68.16, 27.69, 18.79)],
    "fast-at": [(8, 82.39, 45.49, 41.87), (16, 44.15, 21.83, 12.49)],
    "fast-at-ga": [(8, 79.71, 47.27, 43.24), (16, 58.29, 26.01, 17.97)],
    "pgd-2": [(8, 81.97, 44.62, 41.73), (16, 68.04, 24.30, 15.40)],
    "pgd-7": [(8, 81.43, 50.63, 47.05), (16, 61.55, 31.11, 22.99)],
    "free-at": [(8, 79.59, 42.84, 39.39), (16, 35.00, 6.07, 0.91)],
    "yopo": [(8, 83.17, 44.50, 40.61), (16, 44.04, 23.08, 10.61)],
    "atta": [(8, 79.43, 48.78, 44.61), (16, 67.37, 0.36, 0.00)],
    "backsmooth": [(8, 79.31, 48.06, 44.55), (16, 64.88, 24.18, 15.47)],
}
MINUTES = {"fast-bat": 20.5, "fast-at": 7.7, "fast-at-ga": 25.1, "pgd-7": 121.5, "free-at": 24.5, "yopo": 43.8,
           "atta": 38.8, "backsmooth": 20.2}  # fmt: skip


def main() -> None:
    """Write the sections, and draw the figures."""
    for page, names in PAGES.items():
        file = DOCS / f"{page}.md"
        file.write_text(placed(file.read_text(), section(page, names)))
        draw(page, names)


def placed(text: str, section: str) -> str:
    """Return the text of a page with its section; a new one stands before the reference, or at the end."""
    old = re.search(r"^## Measured here\n(.|\n)*?(?=^\*\*Reference|^## |\Z)", text, re.MULTILINE)
    if old:
        return text[: old.start()] + section + text[old.end() :]
    before, mark, after = text.partition("**Reference.**")
    return before.rstrip() + "\n\n" + section + mark + after


def section(page: str, names: list[str]) -> str:
    """Return the section of a page about the methods `names`."""
    several, heads = len(names) > 1, ["eps", "where", "SA, %", "RA-PGD-50-10, %", "RA-AA, %"]
    rows = [[*([name] if several else []), *row] for name in names for row in rows_of(name)]
    parts = [
        "## Measured here",
        f"![Validation accuracy of {' and '.join(names)} by epoch]({page}.svg)",
        table(["method", *heads] if several else heads, rows),
        f"Here: {NETWORK}, {epochs(names[0])}, one seed, the first 1,000 test images. In brackets are 95 % intervals "
        f"over their draw.{PAPERS if names[0] in PAPER else ''} The figure has the accuracy on validation images.",
        "Next to the other methods: [what does every method give?](../../experiments/methods/README.md) "
        f"{' '.join(map(cost, names))}",
    ]
    return "\n\n".join(map(wrapped, parts)) + "\n\n"


def epochs(name: str) -> str:
    """Return how long a method was trained."""
    count = len(trials()[name]["epochs"])
    return f"{count} epochs of 8 replays" if name == "free-at" else f"{count} epochs"


def rows_of(name: str) -> list[list[object]]:
    """Return our row of a method, and the paper's."""
    record = trials()[name]
    cells = [interval(each["percent"], each["interval"]) for each in accuracies(record, 0)]
    source = f"the paper, Table {2 if name == 'pgd-2' else 10}"
    paper = [[eps, source, *(f"{share:.2f}" for share in shares)] for eps, *shares in PAPER.get(name, [])]
    return [[8, f"here, epoch {record['results'][0]['settings']['epoch']}", *cells, None], *paper]


def cost(name: str) -> str:
    """Return what a step and a training take."""
    arm = step(name)
    minutes = f" A training takes {MINUTES[name]} minutes on the paper's GPU." if name in MINUTES else ""
    cpu = "on a CPU ([measured](../../experiments/training-step/README.md))"
    if name == "fast-at":
        return f"A step takes {arm['ms']:.0f} ms {cpu}.{minutes}"
    return f"A step of {name} takes {arm['over_fast_at']:.2f} times as long as FAST-AT's {cpu}.{minutes}"


def wrapped(text: str) -> str:
    """Return a paragraph in lines of at most 120 characters; tables and figures as they are."""
    lines = [""]
    for word in [] if text[0] in "|!#" else text.split():
        if len(lines[-1]) + 1 + len(word) > 120:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines) or text


def draw(page: str, names: list[str]) -> None:
    """Draw the accuracies of the methods `names` on validation images, over those of the others in grey."""
    figure, panel = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    for name, record in trials().items():
        curve(panel, record, "val_ra", color="0.8", lw=1, label=None if name != "fast-at" else "other methods, PGD-10")
    for name, color in zip(names, ("tab:blue", "tab:orange"), strict=False):
        curve(panel, trials()[name], "val_sa", color=color, ls="--", label=f"{name}, clean")
        curve(panel, trials()[name], "val_ra", color=color, label=f"{name}, PGD-10", marker="o", ms=4)
    panel.set(xlabel="epoch", ylabel="validation accuracy, %", xlim=(1, 10), ylim=(0, 75))
    panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, DOCS / f"{page}.svg")


def curve(panel: pyplot.Axes, record: dict, key: str, **style: object) -> None:
    """Draw one accuracy by epoch."""
    points = [(each["epoch"], each[key]) for each in record["epochs"] if key in each]
    if points:
        panel.plot(*zip(*points, strict=True), **style)


if __name__ == "__main__":
    main()
