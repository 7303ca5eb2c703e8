"""Draw term.svg from eps16 and eps8: the term's share of the gradient and validation RA, by epoch."""

import json
from pathlib import Path

from matplotlib import pyplot

HERE = Path(__file__).parent
ARMS = {
    "none": ("none", "black"),
    "c0.1-every8": ("c = 0.1, every 8th", "tab:cyan"),
    "c0.1": ("c = 0.1, the paper's", "tab:blue"),
    "c1": ("c = 1", "tab:orange"),
    "chain-rule": ("c = a, the chain rule's", "tab:red"),
}


def main() -> None:
    """Draw a row of two panels a budget, a line a seed."""
    pyplot.switch_backend("svg")
    pyplot.rcParams["svg.hashsalt"] = "fastbat"  # the same file every time
    files = [file for eps in (16, 8) if (file := HERE / f"eps{eps}" / "results.jsonl").exists()]
    figure, rows = pyplot.subplots(len(files), 2, figsize=(9, 3.4 * len(files)), layout="constrained", squeeze=False)
    for file, (left, right) in zip(files, rows, strict=True):
        eps = file.parent.name.removeprefix("eps")
        for record in map(json.loads, file.open()):
            if record["status"] != "finished":
                continue
            epochs, (label, color) = record["epochs"], ARMS[record["trial"].rsplit("-seed", 1)[0]]
            at, share, ra = zip(*((e["epoch"], 100 * e.get("term", 0), e["val_ra"]) for e in epochs), strict=True)
            if any(share):
                left.plot(at, share, color=color, label=label, lw=1)
            right.plot(at, ra, color=color, label=label, lw=1)
            best = max(e["epoch"] for e in epochs if e["best"]) - 1
            right.plot(at[best], ra[best], "o", color=color, ms=4)
        right.axhline(10, color="gray", ls=":", lw=1, label="always naming one class")
        left.set(yscale="log", xlabel="epoch", ylabel="term over the rest (norms), %", title=f"eps {eps}/255")
        right.set(xlabel="epoch", ylabel="validation RA (PGD-10), %", title="a line a seed; dots: best", ylim=-0.5)
    named = dict(zip(*reversed(rows[0][1].get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), fontsize=8, loc="outside lower center", ncols=3)
    figure.savefig(HERE / "term.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
